import type { Test } from 'tap';
import { withPort } from '../../src/base/ip.js';
import { packetsDuring } from './capture.js';
import { patient } from './lab.js';
import { appAddress, type MeshLab, PUBLISHED, TARGET, underlay, VIP } from './mesh-lab.js';
import type { Traffic } from './traffic-port.js';

/*
 * What others see of a VIP on the wire: who answers for it, who does not, and what large payloads come to. Scenes for a
 * mesh that stands; they change nothing.
 */

const MEGABYTES = 10_000_000;
const DATAGRAM = 60_000;
/** Milliseconds in which nothing shall come. */
const SILENCE = 1000;

/** Questions for a VIP and answers that name it, as tcpdump's filter: ARP, and neighbour solicitation and advertisement. */
const NEIGHBOUR = {
  4: { asks: 'arp[6:2] = 1 and arp[24:4] = 0x0a1400c8', answers: 'arp[6:2] = 2 and arp[14:4] = 0x0a1400c8' },
  6: {
    asks: 'icmp6 and ip6[40] = 135 and ip6[62:2] = 0x0200',
    answers: 'icmp6 and ip6[40] = 136 and ip6[62:2] = 0x0200',
  },
} as const;

export function wireScenes(t: Test, lab: MeshLab): void {
  for (const of of lab.families) {
    // Behaviour 12.
    t.test(`a VIP has one answer, of the bridge beside who asks, IPv${of}`, async (t) => {
      const { asks, answers } = NEIGHBOUR[of];
      const [n1, n3] = [lab.lab.node(1), lab.lab.node(3)];
      const [, mac] = /link\/ether (\S+)/.exec(lab.sh(lab.pin(1, 'net-app'), 'ip -o link show br0')) ?? [];
      const places = [
        { node: n1, sandbox: 'c1', filter: `${answers} and ether src ${mac}` },
        { node: n1, sandbox: 'c1', filter: `${answers} and not ether src ${mac}` },
        { node: n3, sandbox: 'c3', filter: `(${asks}) or (${answers})` },
      ];
      const ping = `ip -${of} neigh flush to ${VIP[of]} dev eth0; ping -q -c1 -W5 ${VIP[of]}`;
      const [bridge, others, elsewhere] = await packetsDuring(places, 'inout', async () => {
        t.match(lab.sh(lab.pin(1, 'c1'), ping), '1 received');
      });
      t.ok((bridge as number) > 0, 'the bridge answers');
      t.equal(others, 0, 'and nobody else');
      t.equal(elsewhere, 0, 'on another node it is not heard');
    });

    t.test(`a task hears its own broadcasts as little as anybody does, IPv${of}`, async (t) => {
      const node = lab.lab.node(1);
      const [, mac] = /link\/ether (\S+)/.exec(lab.sh(lab.pin(1, 'b1'), 'ip -o link show eth0')) ?? [];
      const asks = `ether src ${mac} and ${of === 4 ? 'arp' : 'icmp6 and ip6[40] = 135'}`;
      const places = (['b1', 'b2'] as const).map((sandbox) => ({ node, sandbox, filter: asks }));
      // Nobody has the address: it is asked for by a broadcast, or by a multicast to all who share its last three bytes.
      const call = `ping -q -c1 -W1 ${appAddress(99, of)} || true`;
      const [itself, neighbour] = await packetsDuring(places, 'in', async () => {
        lab.sh(lab.pin(1, 'b1'), call);
      });
      t.ok((neighbour as number) > 0, 'its neighbour hears them');
      t.equal(itself, 0);
    });

    // Behaviours 11 and 12.
    t.test(`a VIP is an address of its network alone, not of the node or the underlay, IPv${of}`, async (t) => {
      for (const proto of ['tcp', 'udp'] as const) {
        const tally = await lab.onNode(1).ask(proto, VIP[of], TARGET, 1, SILENCE);
        t.match(Object.keys(tally), [/^E/], `${proto}: a node does not reach it by address`);
      }
      const route = `ip -${of} route %s ${VIP[of]} dev n1`.split('%s') as [string, string];
      const seen = lab.sh(
        lab.netns('router'),
        `${route.join('add')}; ping -q -c1 -W1 ${VIP[of]} || true; ip -${of} neigh show to ${VIP[of]}; ${route.join('del')}`,
      );
      t.match(seen, ' 0 received');
      t.notMatch(seen, /lladdr/, 'on the underlay nobody answers for it');
    });

    // Behaviour 10.
    t.test(`ten megabytes by HTTP, and datagrams of ${DATAGRAM} bytes, IPv${of}`, async (t) => {
      const vip = { host: VIP[of], port: TARGET };
      const ways: { from: Traffic; netns: string; host: string; port: number }[] = [
        { from: lab.container(1), netns: lab.pin(1, 'c1'), ...vip },
        { from: lab.container(3), netns: lab.pin(3, 'c3'), ...vip },
        { from: lab.replica('b1'), netns: lab.pin(1, 'b1'), ...vip },
        { from: lab.outside, netns: lab.netns('client'), host: underlay(3, of), port: PUBLISHED },
      ];
      for (const { from, netns, host, port } of ways) {
        t.equal(lab.sh(netns, curl(host, port)), `200 ${MEGABYTES}`, `HTTP, ${from.name}`);
        for (let i = 0; i < 3; i++) t.match(await large(from, `large ${of} ${i}`, host, port), / 60000$/, from.name);
      }
    });
  }
}

const curl = (host: string, port: number): string =>
  `curl -gsS -o /dev/null -m ${patient(10)} -w '%{http_code} %{size_download}' http://${withPort(host, port)}/${MEGABYTES}`;

/** The answer to a datagram in some forty fragments; sent again, as senders do, who are told of a small MTU by its loss. */
async function large(from: Traffic, flow: string, host: string, port: number): Promise<string> {
  await from.open(flow, 'udp', host, port);
  let text = '';
  for (let i = 0; i < 3 && !/^b/.test(text); i++) text = await from.say(flow, DATAGRAM);
  await from.close(flow);
  return text;
}
