import test from 'ava';
import { Writer } from '../../src/base/bytes.js';
import { writeAddressDump } from '../../src/codec/rtnl/address.js';
import { writeLink, writeLinkDump } from '../../src/codec/rtnl/link.js';
import {
  NTF_MASTER,
  NTF_SELF,
  writeFdbDump,
  writeFdbGet,
  writeNeighbourDump,
  writeNeighbourGet,
} from '../../src/codec/rtnl/neigh.js';
import { writeNsid } from '../../src/codec/rtnl/nsid.js';
import { RTM_F_LOOKUP_TABLE, writeRouteDump, writeRouteLookup } from '../../src/codec/rtnl/route.js';
import { writeRuleDump } from '../../src/codec/rtnl/rule.js';
import { canonical, exchange } from '../support/netlink-golden.js';

/*
 * What we ask the kernel is what iproute2 asks, whose questions pass strict checking (NETLINK_GET_STRICT_CHK). `header` is
 * the size of the fixed header; links are asked with family AF_PACKET there, so their header is compared without its first byte.
 */
function same(file: string, header: number, questions: Record<string, (w: Writer) => void>): void {
  for (const [command, write] of Object.entries(questions)) {
    test(command, (t) => {
      const w = new Writer();
      write(w);
      const ours = w.done();
      const { body } = exchange(file, command).request;
      const from = file === 'link' ? 1 : 0;
      t.deepEqual(ours.subarray(from, header), Buffer.from(body.subarray(from, header)));
      const nests = file === 'link' ? { 18: {} } : {};
      t.deepEqual(canonical(ours.subarray(header), nests), canonical(body.subarray(header), nests));
    });
  }
}

const mac = '02:42:0a:00:00:09';
/** RTEXT_FILTER_VF, which ip always asks with. */
const extMask = 1;

same('link', 16, {
  'ip link show master br0': (w) => writeLinkDump(w, { master: 2, extMask }),
  'ip link show type vxlan': (w) => writeLinkDump(w, { kind: 'vxlan', extMask }),
  'ip -d -s link show': (w) => writeLinkDump(w, { extMask }),
  'ip -d -s link show dev br0': (w) => writeLink(w, { name: 'br0', extMask }),
});
same('address', 8, {
  'ip addr show dev br0': (w) => writeAddressDump(w, { index: 2 }),
  'ip -6 addr show': (w) => writeAddressDump(w, { family: 10 }),
  'ip addr show': (w) => writeAddressDump(w, {}),
});
same('route', 12, {
  'ip route show table 18600': (w) => writeRouteDump(w, { family: 2, table: 18600 }),
  'ip -6 route show table all': (w) => writeRouteDump(w, { family: 10 }),
  'ip route get 192.0.2.2': (w) => writeRouteLookup(w, { dst: '192.0.2.2', flags: RTM_F_LOOKUP_TABLE }),
});
same('rule', 12, {
  'ip rule show': (w) => writeRuleDump(w, { family: 2 }),
  'ip -6 rule show': (w) => writeRuleDump(w, { family: 10 }),
});
same('neigh', 12, {
  'ip neigh show dev vxlan0': (w) => writeNeighbourDump(w, { family: 0, ifindex: 4 }),
  'ip neigh show master br0': (w) => writeNeighbourDump(w, { family: 0, master: 2 }),
  'ip neigh show proxy': (w) => writeNeighbourDump(w, { family: 0, proxy: true }),
  'ip neigh get 10.0.0.9 dev vxlan0': (w) => writeNeighbourGet(w, { family: 2, ifindex: 4, dst: '10.0.0.9' }),
});
same('fdb', 12, {
  'bridge fdb show dev vxlan0': (w) => writeFdbDump(w, { ifindex: 4 }),
  'bridge fdb show br br0': (w) => writeFdbDump(w, { master: 2 }),
  'bridge -s fdb show': (w) => writeFdbDump(w, {}),
  [`bridge fdb get ${mac} dev vxlan0 self`]: (w) => writeFdbGet(w, { ifindex: 4, lladdr: mac, flags: NTF_SELF }),
  [`bridge fdb get ${mac} dev vxlan0 master`]: (w) => writeFdbGet(w, { ifindex: 4, lladdr: mac, flags: NTF_MASTER }),
});
same('nsid', 4, { 'ip netns list-id': (w) => writeNsid(w, {}) });
