import t from 'tap';
import { Lab, type LabNode, outcomeOf, patient, until } from '../support/lab.js';
import { needs } from '../support/needs.js';
import { lastAdoption, lost, reaches } from '../support/overlay.js';

const CLIENT = { 4: '192.168.70.1', 6: '2001:db8:70::1' };
const limit = { timeout: patient(60_000) };

/** A network of this node with a sandbox of the same name on it. */
async function isolatedPlace(node: LabNode, name: string, body: object, addresses: string[]): Promise<void> {
  await node.api.put(`/v1/networks/${name}`, body);
  await node.api.put(`/v1/sandboxes/${name}`, {});
  await node.api.put(`/v1/endpoints/${name}:${name}?wait=applied&timeoutMs=${patient(10_000)}`, { addresses });
}

/** Addresses of a sandbox's leg to the gateway bridge. */
async function legOf(node: LabNode, sandbox: string): Promise<string[]> {
  const { stdout } = await node.execIn(sandbox, 'ip', '-o', 'addr', 'show', 'dev', 'gw0', 'scope', 'global');
  return [...stdout.matchAll(/inet6? ([^/ ]+)\//g)].map((found) => found[1] as string);
}

/** Sends a router advertisement by an interface of the router: lifetime 1800 s, no prefixes (RFC 4861 section 4.2). */
async function advertise(lab: Lab, leg: string): Promise<void> {
  const bytes = String.raw`\206\0\0\0\100\0\007\010\0\0\0\0\0\0\0\0`;
  // IPV6_MULTICAST_HOPS: others than 255 are not believed.
  const socket = `IP6-SENDTO:[ff02::1]:58,so-bindtodevice=${leg},setsockopt-int=41:18:255`;
  const { code, stderr } = await outcomeOf('ip', [
    ...['netns', 'exec', lab.router, 'sh', '-c', `printf '${bytes}' | socat -u - ${socket}`],
  ]);
  if (code !== 0) throw new Error(stderr);
}

const learned = async (node: LabNode) =>
  (await node.exec('ip', '-6', 'route', 'show', 'default', 'proto', 'ra')).stdout;

if (needs(t, ['root', 'veth', 'bridge', 'vxlan', 'ip', 'iptables-nat', 'ip6tables', 'socat'])) {
  t.setTimeout(patient(110_000));
  const lab = await Lab.up({ nodes: 2, client: true, agents: false });
  t.teardown(() => lab.down());
  const [n1, n2] = [lab.node(1), lab.node(2)];

  t.test('IPv4 alone leaves IPv6 of the node as it is', limit, async (t) => {
    await n1.exec('iptables', '-P', 'FORWARD', 'DROP');
    await n1.exec('ip6tables', '-P', 'FORWARD', 'DROP');
    await until('n1 has learned a default route', async () => {
      // Lost as long as one of the two still looks for duplicates of its link-local address.
      await advertise(lab, 'n1');
      return (await learned(n1)) !== '';
    });
    await n1.start();
    await isolatedPlace(n1, 'four', { subnets: ['10.20.0.0/24'], vni: 4097 }, ['10.20.0.11']);
    t.equal((await legOf(n1, 'four')).length, 1);
    t.equal(await lost(n1, 'four', CLIENT[4], 2, '-i', '0.1'), 0);
    t.match((await n1.exec('sysctl', '-n', 'net.ipv6.conf.all.forwarding')).stdout, /^0/);
    t.notMatch((await n1.exec('ip6tables-save')).stdout, /WEFT/);
    t.match(
      (await n1.exec('sysctl', '-n', 'net.ipv6.conf.weft-gw.accept_ra')).stdout,
      /^0/,
      'containers are no routers',
    );
  });

  t.test('dual stack goes out in both families, with the node’s address', limit, async (t) => {
    const subnets = ['10.30.0.0/24', 'fd30::/64'];
    await isolatedPlace(n1, 'dual', { subnets, vni: 4098 }, ['10.30.0.11', 'fd30::11']);
    const arrive = ['ip', 'netns', 'exec', lab.client, 'timeout', String(patient(8000) / 1000)];
    const seen = outcomeOf(arrive[0] as string, [
      ...arrive.slice(1),
      ...['tcpdump', '-nn', '-l', '-i', 'u0', '-c4', 'icmp[0] = 8 or icmp6[0] = 128'],
    ]);
    await new Promise((resolve) => setTimeout(resolve, patient(500)));
    for (const to of Object.values(CLIENT)) t.equal(await lost(n1, 'dual', to, 2, '-i', '0.1'), 0, to);
    const { stdout } = await seen;
    t.match(stdout, /IP 192\.168\.71\.1 > 192\.168\.70\.1: ICMP echo request/);
    t.match(stdout, /IP6 2001:db8:71::1 > 2001:db8:70::1: ICMP6, echo request/);
  });

  t.test('a node that forwards keeps the routes it learned from advertisements', limit, async (t) => {
    t.match((await n1.exec('sysctl', '-n', 'net.ipv6.conf.all.forwarding')).stdout, /^1/);
    t.match((await n1.exec('sysctl', '-n', 'net.ipv6.conf.u0.accept_ra')).stdout, /^2/);
    t.match(await learned(n1), /default via fe80:.* dev u0/);
    const leg = /(wf\w+)@/.exec((await n1.exec('ip', '-o', 'link', 'show', 'master', 'weft-gw')).stdout)?.[1];
    t.match(
      (await n1.exec('sysctl', '-n', `net.ipv6.conf.${leg}.accept_ra`)).stdout,
      /^1/,
      'nothing is opened to containers',
    );
  });

  t.test('networks are apart, also by the gateway bridge; an internal one has no way out', limit, async (t) => {
    const subnets = ['10.40.0.0/24', 'fd40::/64'];
    await isolatedPlace(n1, 'other', { subnets, vni: 4099 }, ['10.40.0.11', 'fd40::11']);
    for (const ip of ['10.30.0.11', 'fd30::11', ...(await legOf(n1, 'dual'))]) {
      t.notOk(await reaches(n1, 'other', ip), `other does not reach ${ip}`);
    }
    const inside = ['10.50.0.0/24', 'fd50::/64'];
    await isolatedPlace(n1, 'inside', { subnets: inside, vni: 4100, internal: true }, ['10.50.0.11', 'fd50::11']);
    t.notMatch((await n1.execIn('inside', 'ip', '-o', 'link')).stdout, /gw0/);
    for (const ip of [...Object.values(CLIENT), n1.vtep, n1.ip6]) t.notOk(await reaches(n1, 'inside', ip), ip);
    const { stdout } = await n1.execIn('inside', 'dig', '@127.0.0.11', '+short', '+tries=1', 'inside', 'AAAA');
    t.equal(stdout.trim(), 'fd50::11', 'names resolve there');
  });

  t.test('restarts change nothing; what nobody needs any more goes', limit, async (t) => {
    await n1.restart();
    t.match(lastAdoption(n1), /^adopted [1-9]\d* objects, 0 changes$/);
    for (const name of ['dual', 'other']) await n1.api.delete(`/v1/endpoints/${name}:${name}`);
    await until('rules of IPv6 are gone', async () => !/WEFT/.test((await n1.exec('ip6tables-save')).stdout));
    t.match((await n1.exec('iptables-save')).stdout, /WEFT-POSTROUTING/, 'those of IPv4 are still needed');
    t.notMatch((await n1.exec('ip', '-6', 'addr', 'show', 'dev', 'weft-gw', 'scope', 'global')).stdout, /inet6/);
    t.equal(await lost(n1, 'four', CLIENT[4], 2, '-i', '0.1'), 0);
    await n1.must('down');
    t.notMatch((await n1.exec('iptables-save')).stdout, /WEFT/);
    t.notMatch((await n1.exec('ip', '-o', 'link')).stdout, /weft/);
  });

  t.test('a node without IPv6 has networks with IPv6 all the same, and IPv4 as way out', limit, async (t) => {
    for (const of of ['all', 'default']) await n2.exec('sysctl', '-qw', `net.ipv6.conf.${of}.disable_ipv6=1`);
    await n2.start();
    const subnets = ['10.30.0.0/24', 'fd30::/64'];
    await isolatedPlace(n2, 'dual', { subnets, vni: 4098 }, ['10.30.0.12', 'fd30::12']);
    t.match(await n2.must('status'), /ready/);
    t.equal((await legOf(n2, 'dual')).length, 1);
    t.equal(await lost(n2, 'dual', 'fd30::1', 1), 0, 'the network’s own gateway address');
    t.equal(await lost(n2, 'dual', CLIENT[4], 2, '-i', '0.1'), 0);
  });
}
