import t from 'tap';
import { deleteFlows, type Flow, type FlowFilter, flowMatches, getFlows, readFlow } from '../../src/codec/conntrack.js';
import { ack } from '../../src/codec/netlink.js';
import { loadNative } from '../../src/kernel/real/native.js';
import { World } from '../support/native-world.js';
import { needs } from '../support/needs.js';
import { NftSocket } from '../support/nft-socket.js';

const ENOENT = 2;
const FLOWS = [
  '-p tcp -s 10.0.0.21 -d 10.0.0.200 --sport 40000 --dport 80 -r 10.0.0.12 -q 10.0.0.21 --reply-port-src 8080 --reply-port-dst 40000 --state ESTABLISHED -t 7000 -u ASSURED',
  '-p tcp -s 10.0.0.21 -d 10.0.0.201 --sport 40000 --dport 80 --state SYN_SENT -t 100',
  '-p udp -s 10.0.0.21 -d 10.0.0.200 --sport 5001 --dport 53 -t 100',
  '-p udp -s 10.0.0.21 -d 10.0.0.200 --sport 5002 --dport 53 -t 100 -w 9',
  '-p udp -s fd00::21 -d fd00::200 --sport 5000 --dport 53 -t 100',
  '-p sctp -s 10.0.0.21 -d 10.0.0.200 --sport 6000 --dport 36412 --state ESTABLISHED --orig-vtag 1 --reply-vtag 2 -t 500',
  '-p icmp -s 10.0.0.21 -d 10.0.0.200 --icmp-type 8 --icmp-code 0 --icmp-id 4711 -t 50',
  '-p udp -s fd00::21 -d fd00::201 --sport 5000 --dport 53 -t 100',
  '-p icmpv6 -s fd00::21 -d fd00::200 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 77 -t 50',
];

if (needs(t, ['root', 'nft', 'nft-inet', 'conntrack'])) {
  const native = loadNative();
  const world = new World(native);
  t.teardown(() => world.end());
  const fd = world.netns('conntrack');
  const socket = new NftSocket(native, fd);
  t.teardown(() => socket.close());
  for (const flow of FLOWS) await world.must(fd, `conntrack -I ${flow}`);

  const flows = (filter?: FlowFilter): Promise<Flow[]> => socket.dump((seq) => getFlows(seq, filter), readFlow);
  const ends = ({ original: o }: Flow) => `${o.protocol} ${o.src}>${o.dst}`;

  t.test('flows are read', async (t) => {
    const all = await flows();
    t.equal(all.length, FLOWS.length);
    const tcp = all.find((f) => f.original.dst === '10.0.0.200' && f.original.protocol === 6);
    t.match(tcp, { tcpState: 'established', reply: { src: '10.0.0.12', srcPort: 8080 }, zone: 0, family: 'ip' });
  });

  t.test('the kernel filters as flowMatches does', async (t) => {
    const all = await flows();
    const filters: FlowFilter[] = [
      { family: 'ip6' },
      { originalDst: '10.0.0.200' },
      { originalDst: '10.0.0.200', protocol: 17 },
      { originalDst: 'fd00::200' },
      { originalDst: 'fd00::200', protocol: 17 },
      { family: 'ip', protocol: 6 },
      { mark: { value: 0, mask: 1 } },
      { zone: 9 },
    ];
    for (const filter of filters) {
      const want = all.filter((f) => flowMatches(f, filter)).map(ends);
      t.ok(want.length > 0 && (want.length < all.length || filter.mark !== undefined), JSON.stringify(filter));
      const given = await flows(filter);
      t.same(
        given
          .filter((f) => flowMatches(f, filter))
          .map(ends)
          .sort(),
        want.sort(),
        JSON.stringify(filter),
      );
      if (filter.originalDst !== 'fd00::200') t.equal(given.length, want.length, 'the kernel gave no others');
    }
    t.same(await flows({ mark: { value: 1, mask: 1 } }), []);
  });

  t.test('only the flows that are named are deleted, by tuple, zone and id', async (t) => {
    const all = await flows();
    const doomed = all.filter((f) => f.original.protocol !== 6);
    const errnos = async (list: readonly Flow[]): Promise<number[]> => {
      const answers: number[] = [];
      for (const flow of list) {
        const messages = await socket.send((seq) => deleteFlows([flow], seq));
        answers.push(...messages.map((m) => ack(m).errno));
      }
      return answers;
    };
    const impostor = { ...(all[0] as Flow), id: (((all[0] as Flow).id ?? 0) ^ 1) >>> 0 };
    t.same(await errnos([impostor]), [ENOENT], 'the same tuple but another flow');
    t.same(
      await errnos(doomed),
      doomed.map(() => 0),
    );
    t.same(
      await errnos(doomed),
      doomed.map(() => ENOENT),
    );
    t.same((await flows()).map(ends).sort(), ['6 10.0.0.21>10.0.0.200', '6 10.0.0.21>10.0.0.201']);
  });
}
