import { spawn } from 'node:child_process';
import type { Test } from 'tap';
import { packetsDuring } from './capture.js';
import { Lab, type LabNode, patient, until } from './lab.js';
import { lastAdoption, lost, reaches } from './overlay.js';

/** Two lanes: the second subnets of both families share the second VNI. */
const SUBNETS = ['10.20.0.0/24', 'fd20::/64', '10.21.0.0/24', 'fd21::/64'];
/** By node: a container on the first subnets, one on the second, one with IPv6 alone. */
const HOMES = (n: number) => ({
  [`a${n}`]: [`10.20.0.1${n}`, `fd20::1${n}`],
  [`b${n}`]: [`10.21.0.1${n}`, `fd21::1${n}`],
  [`s${n}`]: [`fd20::2${n}`],
});
/** Bytes from the IP header of a VXLAN packet to the inner frame: UDP and VXLAN are 16, Ethernet begins behind them. */
const UNDERLAYS = {
  4: {
    overhead: 50,
    udp: 'ip proto 17 and udp dst port 4789 and ',
    inner: (at: number, n = 1) => `ip[${36 + at}:${n}]`,
  },
  6: { overhead: 70, udp: 'ip6 proto 17 and ', inner: (at: number, n = 1) => `ip6[${56 + at}:${n}]` },
};
const PORT = 9000;
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

/** How many frames inside VXLAN n1's underlay has seen during something: ARP and neighbour solicitations, and echo requests. */
async function framesDuring(node: LabNode, underlay: 4 | 6, during: () => Promise<void>) {
  const { udp, inner } = UNDERLAYS[underlay];
  const icmp6 = (type: number) => `(${inner(12, 2)} = 0x86dd and ${inner(20)} = 58 and ${inner(54)} = ${type})`;
  const filters = [`(${inner(12, 2)} = 0x0806 or ${icmp6(135)})`, icmp6(128)];
  const places = filters.map((filter) => ({ node, filter: `${udp} ${filter}` }));
  const [solicitations, echoes] = await packetsDuring(places, 'inout', during);
  return { solicitations, echoes };
}

/** Echo servers of TCP and UDP in a sandbox, for both families. */
async function serve(t: Test, node: LabNode, sandbox: string): Promise<void> {
  const servers = [
    ['socat', `TCP6-LISTEN:${PORT},ipv6-v6only=0,reuseaddr,fork`, 'EXEC:cat'],
    ['socat', '-b', '65000', `UDP6-RECVFROM:${PORT},ipv6-v6only=0,fork`, 'PIPE'],
  ].map((command) => spawn('nsenter', [`--net=${node.pin(sandbox)}`, ...command], { stdio: 'ignore' }));
  t.teardown(() => {
    for (const server of servers) server.kill('SIGKILL');
  });
  const listening = async () => (await node.execIn(sandbox, 'ss', '-Hlntu', 'sport', '=', `:${PORT}`)).stdout;
  await until('both servers listen', async () => /tcp(.|\n)*udp|udp(.|\n)*tcp/.test(await listening()));
}

/** Bytes that come back of `bytes` sent to the echo server. */
async function echoed(
  node: LabNode,
  sandbox: string,
  proto: 'TCP' | 'UDP',
  to: string,
  bytes: number,
): Promise<number> {
  const host = to.includes(':') ? `${proto}6:[${to}]` : `${proto}4:${to}`;
  const script = `head -c ${bytes} /dev/zero | socat -b 65000 -t ${patient(1000) / 1000} - ${host}:${PORT} | wc -c`;
  return Number((await node.execIn(sandbox, 'sh', '-c', script)).stdout);
}

/** The cases of a network of both families over an underlay of one. */
export async function dualStack(t: Test, underlay: 4 | 6): Promise<readonly [LabNode, LabNode]> {
  const lab = await Lab.up({ nodes: 2, underlay });
  t.teardown(() => lab.down());
  const [n1, n2] = [lab.node(1), lab.node(2)] as const;

  t.test('both families, all subnets, across nodes', limit, async (t) => {
    await populate(lab);
    for (const to of ['10.20.0.12', 'fd20::12', '10.21.0.12', 'fd21::12']) {
      t.equal(await lost(n1, 'a1', to, 2, '-i', '0.1'), 0, `a1 to ${to}`);
      t.equal(await lost(n1, 'b1', to, 2, '-i', '0.1'), 0, `b1 to ${to}`);
    }
    t.equal(await lost(n1, 's1', 'fd20::22', 2, '-i', '0.1'), 0, 'IPv6 alone');
    t.equal(await lost(n1, 's1', 'fd21::12', 2, '-i', '0.1'), 0, 'IPv6 alone, to another subnet');
    for (const to of ['10.20.0.1', 'fd20::1', '10.21.0.1', 'fd21::1']) {
      t.equal(await lost(n1, 'b1', to, 1), 0, `gateway ${to}`);
    }
  });

  t.test('full frames pass, larger ones are refused by the sender’s own interface', limit, async (t) => {
    const mtu = 1500 - UNDERLAYS[underlay].overhead;
    for (const [to, headers] of Object.entries({ '10.20.0.12': 28, 'fd20::12': 48 })) {
      const ping = ['ping', '-c1', '-W2', '-M', 'do', to, '-s'];
      t.equal((await n1.execIn('a1', ...ping, String(mtu - headers))).code, 0, `${to}: ${mtu} bytes`);
      const { stdout, stderr } = await n1.execIn('a1', ...ping, String(mtu - headers + 1));
      t.match(stdout + stderr, new RegExp(`message too long, mtu[=:] ?${mtu}`), `${to}: one more`);
    }
  });

  t.test('TCP, UDP and datagrams in fragments', limit, async (t) => {
    await serve(t, n2, 'b2');
    for (const to of ['10.21.0.12', 'fd21::12']) {
      t.equal(await echoed(n1, 'a1', 'TCP', to, 1_000_000), 1_000_000, `TCP to ${to}`);
      t.equal(await echoed(n1, 'a1', 'UDP', to, 64), 64, `UDP to ${to}`);
      t.equal(await echoed(n1, 'a1', 'UDP', to, 60_000), 60_000, `60,000 bytes by UDP to ${to}`);
    }
  });

  t.test('addresses are usable at once and the devices are those of the lanes', limit, async (t) => {
    const { stdout } = await n1.execIn('a1', 'ip', '-6', 'addr', 'show', 'dev', 'eth0', 'scope', 'global');
    t.match(stdout, /fd20::11\/64 scope global nodad/);
    const devices = (await n1.execIn('net-app', 'ip', '-d', '-o', 'link', 'show', 'type', 'vxlan')).stdout;
    t.match(devices, new RegExp(`vxlan0.* vxlan id 4097 local6? ${n1.vtep} `));
    t.match(devices, new RegExp(`vxlan1.* vxlan id 4098 local6? ${n1.vtep} `));
    const rows = (await n1.execIn('net-app', 'bridge', 'fdb', 'show', 'dev', 'vxlan1')).stdout;
    t.match(rows, `02:42:0a:15:00:0c dst ${n2.vtep} `, 'b2 is reached by the second lane');
    t.notMatch(rows, /02:42:0a:14:00:0c dst/, 'and a2 is not');
  });

  t.test('ARP and neighbour solicitations stay on the node, answered or not', limit, async (t) => {
    for (const of of ['-4', '-6']) await n1.execIn('a1', 'ip', of, 'neigh', 'flush', 'all');
    const seen = await framesDuring(n1, underlay, async () => {
      t.ok(await reaches(n1, 'a1', 'fd20::12'), 'a known neighbour is found');
      t.ok(await reaches(n1, 'a1', '10.21.0.12'));
      t.notOk(await reaches(n1, 'a1', 'fd20::99'), 'an unknown one is not');
      t.notOk(await reaches(n1, 'a1', '10.20.0.99'));
    });
    t.same(seen, { solicitations: 0, echoes: 1 });
  });

  t.test('restarts change nothing', limit, async (t) => {
    for (const node of [n1, n2]) {
      await node.restart();
      t.match(lastAdoption(node), /^adopted [1-9]\d* objects, 0 changes$/);
    }
  });
  return [n1, n2];
}
