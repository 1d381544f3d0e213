import t from 'tap';
import { packetsDuring } from '../support/capture.js';
import { Lab, type LabNode, patient, until } from '../support/lab.js';
import { needs } from '../support/needs.js';
import { lastAdoption, lost, reaches } from '../support/overlay.js';

const limit = { timeout: patient(60_000) };
const GROUP = '239.1.2.3';
/** Fields behind the outer UDP header: VXLAN has 8 bytes, so the inner frame begins at 16 and its packet at 30. */
const TUNNEL = 'udp port 4789';
const DATAGRAM = 'udp[28:2] = 0x0800 and udp[52:2] = 7777';
const ARP = 'udp[28:2] = 0x0806';
const SOLICITATION = '(udp[28:2] = 0x86dd and udp[36] = 58 and udp[70] = 135)';
const TO_NOBODY = 'udp[16:4] = 0x02420a14 and udp[20:2] = 0x0063';

/**
 * Two networks on three nodes: `all` broadcasts and is on every node, with containers on the first two alone; `other`, with
 * a container on every node, does not.
 */
async function populate(lab: Lab): Promise<void> {
  for (const node of lab.nodes) {
    const n = node.number;
    const wait = `wait=applied&timeoutMs=${patient(10_000)}`;
    const subnets = ['10.20.0.0/24', 'fd20::/64', '10.21.0.0/24'];
    await node.api.put('/v1/networks/all', { subnets, vni: 4097, vnis: [4098], options: { broadcast: 'true' } });
    await node.api.put('/v1/networks/other', { subnets: ['10.30.0.0/24'], vni: 4099 });
    const homes: Record<string, [string, string[]]> = {
      [`a${n}`]: ['all', [`10.20.0.1${n}`, `fd20::1${n}`]],
      [`b${n}`]: ['all', [`10.21.0.1${n}`]],
      [`o${n}`]: ['other', [`10.30.0.1${n}`]],
    };
    for (const [sandbox, [network, addresses]] of Object.entries(homes)) {
      if (n === 3 && network === 'all') continue;
      await node.api.put(`/v1/sandboxes/${sandbox}`, {});
      await node.api.put(`/v1/endpoints/${sandbox}:${network}?${wait}`, { addresses });
    }
  }
  await lab.exchangeGossip();
}

const at = (filter: string, ...nodes: LabNode[]) => nodes.map((node) => ({ node, filter }));

/** Sends datagrams to everybody on a network: by broadcast, or to a group. */
async function call(node: LabNode, sandbox: string, to: string, times: number): Promise<void> {
  const script = `for i in $(seq ${times}); do echo hi | socat -u - ${to}; done`;
  const { code, stderr } = await node.execIn(sandbox, 'sh', '-c', script);
  if (code !== 0) throw new Error(stderr);
}

if (needs(t, ['root', 'veth', 'bridge', 'vxlan', 'ip', 'iptables', 'nft-bridge', 'socat'])) {
  t.setTimeout(patient(110_000));
  const lab = await Lab.up({ nodes: 3 });
  t.teardown(() => lab.down());
  const [n1, n2, n3] = [lab.node(1), lab.node(2), lab.node(3)];
  const calls = {
    broadcast: [`UDP4-DATAGRAM:10.20.0.255:7777,broadcast`, 'udp dst port 7777'],
    multicast: [`UDP4-DATAGRAM:${GROUP}:7778,ip-multicast-if=10.20.0.11`, 'udp dst port 7778'],
    'IPv6 multicast': ['UDP6-DATAGRAM:[ff15::77]:7779,so-bindtodevice=eth0', 'ip6 and udp dst port 7779'],
  };

  t.test('everybody on the network hears it once, on all nodes; nobody else does', limit, async (t) => {
    await populate(lab);
    const places = [
      { node: n2, sandbox: 'a2' },
      { node: n1, sandbox: 'b1' },
      { node: n2, sandbox: 'b2' },
      { node: n1, sandbox: 'o1' },
      { node: n2, sandbox: 'o2' },
      { node: n3, sandbox: 'o3' },
    ];
    await n1.execIn('a1', 'ip', 'route', 'add', '224.0.0.0/4', 'dev', 'eth0');
    for (const [how, [to, filter]] of Object.entries(calls) as [string, [string, string]][]) {
      const looked = places.map((place) => ({ ...place, filter }));
      const counts = await packetsDuring(looked, 'in', () => call(n1, 'a1', to, 3));
      t.same(counts, [3, 3, 3, 0, 0, 0], how);
    }
  });

  t.test('a node without containers on it gets no copy', limit, async (t) => {
    const [to] = calls.broadcast as [string, string];
    const counts = await packetsDuring(at(`${TUNNEL} and ${DATAGRAM}`, n2, n3), 'in', () => call(n1, 'a1', to, 3));
    t.same(counts, [3, 0]);
  });

  t.test('without the option nothing crosses', limit, async (t) => {
    const to = 'UDP4-DATAGRAM:10.30.0.255:7777,broadcast';
    const counts = await packetsDuring(at(`${TUNNEL} and ${DATAGRAM}`, n2, n3), 'in', () => call(n1, 'o1', to, 3));
    t.same(counts, [0, 0]);
  });

  t.test('questions for unknown addresses stay on the node all the same', limit, async (t) => {
    const questions = await packetsDuring(at(`${TUNNEL} and (${ARP} or ${SOLICITATION})`, n2), 'in', async () => {
      t.notOk(await reaches(n1, 'a1', '10.20.0.99'));
      t.notOk(await reaches(n1, 'a1', 'fd20::99'));
    });
    t.same(questions, [0]);
    const frames = await packetsDuring(at(`${TUNNEL} and ${TO_NOBODY}`, n2), 'in', async () => {
      await n1.execIn('a1', 'ip', 'neigh', 'add', '10.20.0.99', 'lladdr', '02:42:0a:14:00:63', 'dev', 'eth0');
      t.notOk(await reaches(n1, 'a1', '10.20.0.99'));
    });
    t.same(frames, [0], 'and so do frames to a MAC that nobody has');
  });

  t.test('copies are limited, questions for neighbours are not', limit, async (t) => {
    const rules = (await n1.execIn('net-all', 'nft', 'list', 'table', 'bridge', 'weft')).stdout;
    t.match(rules, /limit rate 100000\/second burst 10000 packets accept/);
    await n1.execIn('a1', 'ip', 'neigh', 'flush', 'all');
    t.equal(await lost(n1, 'a1', '10.20.0.12', 2, '-i', '0.1'), 0);
  });

  t.test('rows are kept over restarts and repaired, each by itself', limit, async (t) => {
    await n1.restart();
    t.match(lastAdoption(n1), /^adopted [1-9]\d* objects, 0 changes$/);
    const rows = async () => (await n1.execIn('net-all', 'bridge', 'fdb', 'show', 'dev', 'vxlan0')).stdout;
    const zero = /00:00:00:00:00:00 dst 192\.168\.72\.1 /;
    t.match(await rows(), zero);
    await n1.execIn('net-all', 'bridge', 'fdb', 'del', '00:00:00:00:00:00', 'dev', 'vxlan0', 'dst', n2.vtep, 'self');
    await until('the row is back', async () => zero.test(await rows()));
    await n3.api.put('/v1/sandboxes/a3', {});
    await n3.api.put('/v1/endpoints/a3:all?wait=applied', { addresses: ['10.20.0.13'] });
    await lab.exchangeGossip();
    t.match(await rows(), zero);
    t.match(await rows(), /00:00:00:00:00:00 dst 192\.168\.73\.1 /);
    await n3.api.delete('/v1/endpoints/a3:all');
    await n1.api.post(
      '/v1/gossip?wait=applied',
      '{"table":"peers","op":"delete","key":"n3/a3:all","node":"n3","ltime":9e9}',
    );
    t.match(await rows(), zero);
    t.notMatch(await rows(), /00:00:00:00:00:00 dst 192\.168\.73\.1 /, 'the last container there is gone');
  });
}
