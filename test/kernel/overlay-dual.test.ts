import t from 'tap';
import { Lab, type LabNode, patient } from '../support/lab.js';
import { needs } from '../support/needs.js';
import { lastAdoption, lost, reaches } from '../support/overlay.js';

/** Two lanes: the second subnets of both families share the second VNI. */
const SUBNETS = ['10.20.0.0/24', 'fd20::/64', '10.21.0.0/24', 'fd21::/64'];
/** By node: one container on the first subnets, one on the second, one with IPv6 alone. */
const HOMES = (n: number) => ({
  [`a${n}`]: [`10.20.0.1${n}`, `fd20::1${n}`],
  [`b${n}`]: [`10.21.0.1${n}`, `fd21::1${n}`],
  [`s${n}`]: [`fd20::2${n}`],
});

const limit = { timeout: patient(60_000) };

async function populate(lab: Lab): Promise<void> {
  for (const node of lab.nodes) {
    await node.api.put('/v1/networks/app', { subnets: SUBNETS, vni: 4097, vnis: [4098] });
    for (const [sandbox, addresses] of Object.entries(HOMES(node.number))) {
      await node.api.put(`/v1/sandboxes/${sandbox}`, {});
      await node.api.put(`/v1/endpoints/${sandbox}:app?wait=applied&timeoutMs=${patient(10_000)}`, { addresses });
    }
  }
  await lab.exchangeGossip();
}

/** Frames sent on n1's underlay while something happens that are ARP (0x0806) or ICMPv6 solicitations inside VXLAN. */
async function requestsOnTheWire(node: LabNode, during: () => Promise<void>): Promise<string> {
  const filter = 'udp port 4789 and (udp[28:2] = 0x0806 or (udp[28:2] = 0x86dd and udp[36] = 58 and udp[70] = 135))';
  const sniffed = node.exec('timeout', String(patient(3000) / 1000), 'tcpdump', '-nn', '-i', 'u0', '-c1', filter);
  await new Promise((resolve) => setTimeout(resolve, patient(500)));
  await during();
  return (await sniffed).stderr;
}

if (needs(t, ['root', 'veth', 'bridge', 'vxlan', 'ip', 'iptables'])) {
  t.setTimeout(patient(110_000));
  const lab = await Lab.up({ nodes: 2 });
  t.teardown(() => lab.down());
  const [n1, n2] = [lab.node(1), lab.node(2)];

  t.test('both families, all subnets, across nodes', limit, async (t) => {
    await populate(lab);
    for (const to of ['10.20.0.12', 'fd20::12', '10.21.0.12', 'fd21::12']) {
      t.equal(await lost(n1, 'a1', to, 2, '-i', '0.1'), 0, `a1 to ${to}`);
      t.equal(await lost(n1, 'b1', to, 2, '-i', '0.1'), 0, `b1 to ${to}`);
    }
    t.equal(await lost(n1, 's1', 'fd20::22', 2, '-i', '0.1'), 0, 'IPv6 alone');
    t.equal(await lost(n1, 's1', 'fd21::12', 2, '-i', '0.1'), 0, 'IPv6 alone, to another subnet');
    t.equal(await lost(n1, 'a1', 'fd20::12', 2, '-M', 'do', '-s', '1402', '-i', '0.1'), 0, 'a full frame');
    t.equal(await lost(n1, 'a1', 'fd20::12', 1, '-s', '8000'), 0, 'a large datagram in fragments');
    for (const to of ['10.20.0.1', 'fd20::1', '10.21.0.1', 'fd21::1']) {
      t.equal(await lost(n1, 'b1', to, 1), 0, `gateway ${to}`);
    }
  });

  t.test('addresses are usable at once and the devices are those of the lanes', limit, async (t) => {
    const { stdout } = await n1.execIn('a1', 'ip', '-6', 'addr', 'show', 'dev', 'eth0', 'scope', 'global');
    t.match(stdout, /fd20::11\/64 scope global nodad/);
    const devices = (await n1.execIn('net-app', 'ip', '-d', '-o', 'link', 'show', 'type', 'vxlan')).stdout;
    t.match(devices, /vxlan0.* vxlan id 4097 /);
    t.match(devices, /vxlan1.* vxlan id 4098 /);
    const rows = (await n1.execIn('net-app', 'bridge', 'fdb', 'show', 'dev', 'vxlan1')).stdout;
    t.match(rows, /02:42:0a:15:00:0c dst 192\.168\.72\.1/, 'b2 is reached by the second lane');
    t.notMatch(rows, /02:42:0a:14:00:0c dst/, 'and a2 is not');
  });

  t.test('ARP and neighbour solicitations stay on the node, answered or not', limit, async (t) => {
    await n1.execIn('a1', 'ip', 'neigh', 'flush', 'all');
    await n1.execIn('a1', 'ip', '-6', 'neigh', 'flush', 'all');
    const told = await requestsOnTheWire(n1, async () => {
      t.ok(await reaches(n1, 'a1', 'fd20::12'), 'a known neighbour is found');
      t.ok(await reaches(n1, 'a1', '10.21.0.12'));
      t.notOk(await reaches(n1, 'a1', 'fd20::99'), 'an unknown one is not');
      t.notOk(await reaches(n1, 'a1', '10.20.0.99'));
    });
    t.match(told, /0 packets captured/);
  });

  t.test('restarts change nothing', limit, async (t) => {
    for (const node of [n1, n2]) {
      await node.restart();
      t.match(lastAdoption(node), /^adopted [1-9]\d* objects, 0 changes$/);
    }
  });
}
