import { type ChildProcess, spawn } from 'node:child_process';
import t from 'tap';
import { canonicalIp } from '../../src/base/ip.js';
import { Lab, type Outcome, outcomeOf, patient, until } from '../support/lab.js';
import { inGuest, needs } from '../support/needs.js';

/*
 * Ports of a node (mode=host) in IPv6 and dual stack, and of SCTP: sandboxes c1 with both families and four with IPv4 only,
 * a client outside. Servers and clients are socat's; a server answers with its name and the caller's address.
 */

const CLIENT = { 4: '192.168.70.1', 6: '2001:db8:70::1' } as const;
const NODE = { 4: '192.168.71.1', 6: '2001:db8:71::1' } as const;
type Proto = 'tcp' | 'udp' | 'sctp';

const PROGRAMS = ['root', 'vxlan', 'nft-bridge', 'iptables-nat', 'ip6tables', 'ip', 'socat'] as const;

if (needs(t, PROGRAMS)) {
  t.setTimeout(patient(110_000));
  const lab = await Lab.up({ nodes: 1, client: true, agents: false });
  const node = lab.node(1);
  const children: ChildProcess[] = [];
  t.teardown(async () => {
    for (const child of children) child.kill('SIGKILL');
    await lab.down();
  });

  /** A server for both families. */
  const serve = (sandbox: string, proto: Proto, port: number): void => {
    const how = proto === 'udp' ? 'RECVFROM' : 'LISTEN';
    const address = `${proto.toUpperCase()}6-${how}:${port},ipv6only=0,fork${proto === 'udp' ? '' : ',reuseaddr'}`;
    const script = `read line; echo ${sandbox} $SOCAT_PEERADDR`;
    const words = [`--net=${node.pin(sandbox)}`, 'socat', '-T5', address, `SYSTEM:${script}`];
    children.push(spawn('nsenter', words, { stdio: 'ignore' }));
  };
  /** What a caller is answered; `refused` or `silent`. */
  const call = async (netns: string, proto: Proto, host: string, port: number): Promise<string> => {
    const v6 = host.includes(':');
    const end = `${proto.toUpperCase()}${v6 ? 6 : 4}:${v6 ? `[${host}]` : host}:${port}`;
    // Who is silent takes all of it, and SCTP always does: not as patient as the rest.
    const wait = inGuest() ? 4 : 1.5;
    // UDP knows no end: the answer is waited for as long as -t says. SCTP has no half-closed connections.
    const text = proto === 'sctp' ? `(echo hello; sleep ${wait})` : 'echo hello';
    const limits = proto === 'udp' ? `-t${wait / 3}` : `-t${wait} -T${wait}`;
    const client = `${text} | socat ${limits} - ${end}${proto === 'udp' ? '' : `,connect-timeout=${wait}`}`;
    const out: Outcome = await outcomeOf('nsenter', [`--net=${netns}`, 'sh', '-c', client]);
    if (/refused/i.test(out.stderr)) return 'refused';
    const [name, caller] = out.stdout.trim().split(' ');
    return caller ? `${name} ${canonicalIp(caller.replace(/[[\]]/g, '')).replace('::ffff:', '')}` : 'silent';
  };
  const outside = `/run/netns/${lab.client}`;
  const netns = `/run/netns/${node.ns}`;
  const answers = (what: string, netns: string, proto: Proto, host: string, port: number, expected: string) =>
    until(
      `${what} (${proto} ${host} ${port}) is answered "${expected}"`,
      async () => (await call(netns, proto, host, port)) === expected,
      15_000,
    );

  for (const program of ['iptables', 'ip6tables']) await node.exec(program, '-P', 'FORWARD', 'DROP');
  await node.start();
  const wait = `wait=applied&timeoutMs=${patient(10_000)}`;
  await node.api.put('/v1/networks/app', { subnets: ['10.20.0.0/24', 'fd20::/64'], vni: 4097 });
  await node.api.put('/v1/networks/old', { subnets: ['10.21.0.0/24'], vni: 4098 });
  for (const name of ['c1', 'c2', 'four']) await node.api.put(`/v1/sandboxes/${name}`, {});
  await node.api.put('/v1/endpoints/c1:app', { addresses: ['10.20.0.11', 'fd20::11'] });
  await node.api.put('/v1/endpoints/c2:app', { addresses: ['10.20.0.12', 'fd20::12'] });
  await node.api.put(`/v1/endpoints/four:old?${wait}`, { addresses: ['10.21.0.11'] });
  const publish = (...args: string[]) => node.must('sandbox', 'publish', ...args, '--wait');

  t.test('both families, with the caller’s address', async (t) => {
    serve('c1', 'tcp', 80);
    serve('c1', 'udp', 80);
    await publish('c1', '8080:80', '8080:80/udp');
    for (const proto of ['tcp', 'udp'] as const) {
      await answers('a caller outside', outside, proto, NODE[4], 8080, `c1 ${CLIENT[4]}`);
      // A new gateway bridge asks for neighbours once its link-local address has passed duplicate detection: a second.
      await answers('a caller outside', outside, proto, NODE[6], 8080, `c1 ${CLIENT[6]}`);
      t.match(await call(netns, proto, NODE[6], 8080), /^c1 2001:db8:71:/, `${proto} from the node`);
      t.match(await call(node.pin('c2'), proto, NODE[6], 8080), /^c1 fd87:/, `${proto} from a neighbour`);
      t.match(await call(node.pin('c1'), proto, NODE[6], 8080), /^c1 fd87:/, `${proto} from itself`);
      t.equal(await call(netns, proto, '::1', 8080), 'refused', `${proto} to ::1`);
    }
    t.match((await node.exec('ip6tables-save', '-t', 'nat')).stdout, '-A WEFT-PORTS -d ::1/128 -j RETURN');
  });

  t.test('one IPv6 address; all of one family', async (t) => {
    await publish('c1', `[${NODE[6]}]:8090:80`, '0.0.0.0:8091:80', '[::]:8092:80');
    t.match(await call(outside, 'tcp', NODE[6], 8090), /^c1 2001/);
    t.equal(await call(outside, 'tcp', NODE[4], 8090), 'refused');
    t.match(await call(outside, 'tcp', NODE[4], 8091), /^c1 192/);
    t.equal(await call(outside, 'tcp', NODE[6], 8091), 'refused');
    t.match(await call(outside, 'tcp', NODE[6], 8092), /^c1 2001/);
    t.equal(await call(outside, 'tcp', NODE[4], 8092), 'refused');
    await node.must('sandbox', 'unpublish', 'c1', `[${NODE[6]}]:8090`, '8091', '8092', '--wait');
  });

  t.test('ranges and allow lists', async (t) => {
    serve('c1', 'tcp', 81);
    await publish('c1', '9000-9001:80,allow=2001:db8:70::/64');
    t.match(await call(outside, 'tcp', NODE[6], 9000), /^c1 2001/);
    t.match(await call(outside, 'tcp', NODE[6], 9001), /^c1 2001/);
    t.equal(await call(outside, 'tcp', NODE[4], 9000), 'silent', 'nobody is allowed in IPv4');
    t.equal(await call(node.pin('c2'), 'tcp', NODE[6], 9000), 'silent');
    await node.must('sandbox', 'unpublish', 'c1', '9000', '--wait');
  });

  t.test('a sandbox without IPv6 has its port in IPv4, and IPv6 is refused at once', async (t) => {
    serve('four', 'udp', 80);
    await publish('four', '8100:80/udp', '8100:80');
    await answers('a caller outside', outside, 'udp', NODE[4], 8100, `four ${CLIENT[4]}`);
    t.equal(await call(outside, 'udp', NODE[6], 8100), 'refused');
    t.equal(await call(outside, 'tcp', NODE[6], 8100), 'refused');
    const rows: Record<string, unknown>[] = JSON.parse(await node.must('port', 'ls', '-j'));
    t.same(
      rows.filter((row) => row.drift !== 'ok'),
      [],
    );
    t.match(rows.find((row) => row.port === '8080')?.via, /^172\.31\.0\.\d+,fd87:/);
  });

  t.test('SCTP', async (t) => {
    if (!needs(t, ['sctp'])) return;
    serve('c1', 'sctp', 80);
    await publish('c1', '8200:80/sctp');
    await answers('a caller outside', outside, 'sctp', NODE[4], 8200, `c1 ${CLIENT[4]}`);
    t.match(await call(outside, 'sctp', NODE[6], 8200), /^c1 2001/);
    const held = await node.exec('socat', '-u', 'SCTP4-LISTEN:8200', '/dev/null');
    t.match(held.stderr, /in use/, 'the port is held');
    t.equal(await call(outside, 'sctp', NODE[4], 8201), 'refused');
    await node.must('sandbox', 'unpublish', 'c1', '8200/sctp', '--wait');
    t.equal(await call(outside, 'sctp', NODE[4], 8200), 'refused');
  });

  t.test('a restart changes nothing, and nothing is left in the end', async (t) => {
    await node.restart();
    t.match(node.log(), /adopted \d+ objects, 0 changes/);
    await node.must('down');
    for (const save of ['iptables-save', 'ip6tables-save']) t.notMatch((await node.exec(save)).stdout, /WEFT/);
    t.notMatch((await node.exec('nft', 'list', 'ruleset')).stdout, /table (bridge|inet) weft/);
  });
}
