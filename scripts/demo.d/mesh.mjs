// First half of the demo: networks, a service, and calls of it from everywhere.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { check } from './checks.mjs';
import { ask, sandboxNetns, shellLine, spread, weft, weftArgv, weftEnvironment } from './cluster.mjs';
import { CLIENT, inNetns, NODES } from './lab.mjs';
import { RunError, run } from './run.mjs';

const [n1, n2, n3] = NODES;
export const VIP = '10.20.0.200';
export const PORT = 8080;
/** Callers: containers that are no replicas. Their node and their address on network app. */
export const CALLERS = { c1: { node: n1, address: '10.20.0.101' }, c3: { node: n3, address: '10.20.0.103' } };
/** An Ethernet underlay's 1500 bytes less 50 of VXLAN, IPv4 and ICMP headers 28. */
const FULL_PING = '1422';

/** Replicas that run now, by name: node, and process. */
export const replicas = new Map();

export async function networks() {
  await weft(n1, ['network', 'create', 'app', '--subnet', '10.20.0.0/24', '--vni', '4097']);
  await weft(n1, ['network', 'create', 'ingress', '--ingress', '--subnet', '10.0.0.0/24', '--vni', '4096']);
  await spread();
  for (const node of NODES) {
    await weft(node, ['node', 'add', node.name, '--vtep', node.address, '--address', `ingress=${node.ingress}`]);
  }
  for (const [name, { node, address }] of Object.entries(CALLERS)) {
    await weft(node, ['sandbox', 'create', name]);
    await weft(node, ['connect', name, 'app', '--ip', address, '--wait']);
  }
  await spread();
  const argv = ['sandbox', 'exec', 'c1', '--', 'ping', '-M', 'do', '-s', FULL_PING, '-c', '2', '-W', '5'];
  const { stdout } = await weft(n1, [...argv, CALLERS.c3.address], { mayFail: true });
  const received = /(\d+) received/.exec(stdout)?.[1] ?? 'none';
  check('overlay: full-size pings from c1 (n1) to c3 (n3)', '2 of 2', `${received} of 2`);
}

export async function service() {
  await weft(n1, ['service', 'create', 'web', '--network', 'app', '--vip', VIP, '--publish', `${PORT}:80`]);
  await spread();
  await startReplica(n1, 'r1', 11);
  await startReplica(n1, 'r2', 12);
  await startReplica(n2, 'r3', 13);
  await spread();
}

/** A container that serves: it listens before it is connected, so that it never stands in the service deaf. */
export async function startReplica(node, name, host) {
  await weft(node, ['sandbox', 'create', name, '--wait']);
  const file = fileURLToPath(new URL('replica.mjs', import.meta.url));
  const argv = inNetns(sandboxNetns(node, name), [process.execPath, file, name, '80']);
  const child = spawn(argv[0], argv.slice(1), { detached: true, stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve, reject) => {
    child.stdout.once('data', resolve);
    child.once('exit', () => reject(new RunError(`replica ${name} ended at its start`)));
  });
  replicas.set(name, { node, child });
  await weft(node, ['connect', name, 'app', '--ip', `10.20.0.${host}`, '--service', 'web']);
  await weft(node, ['connect', name, 'ingress', '--ip', `10.0.0.${host}`, '--service', 'web', '--wait']);
}

/** A program in a sandbox, with the sandbox's own resolver: what `weft sandbox exec` is for. */
export const inSandbox = (name, argv) => ({
  argv: weftArgv(['sandbox', 'exec', name, '--', ...argv]),
  env: weftEnvironment(CALLERS[name].node),
});

/** 30 connections one after the other: Connection: close keeps curl from using one again. */
const thirty = (host) => [
  'curl',
  '-s',
  '-m',
  '10',
  '--fail-early',
  '-H',
  'Connection: close',
  `http://${host}/?[1-30]`,
];

/** `10 r1, 10 r2, 10 r3 from ADDRESS`: who answered how often, and whom they saw. */
export function tally(stdout) {
  const names = new Map();
  const seen = new Set();
  for (const line of stdout.split('\n').filter((text) => text !== '')) {
    const [name, address] = line.split(' ');
    names.set(name, (names.get(name) ?? 0) + 1);
    seen.add(address);
  }
  if (names.size === 0) return 'no answer';
  const counts = [...names].sort().map(([name, n]) => `${n} ${name}`);
  return `${counts.join(', ')} from ${[...seen].sort().join(' and ')}`;
}

/** What round robin over the present replicas gives. */
export const even = (address) =>
  `${[...replicas.keys()]
    .sort()
    .map((name) => `10 ${name}`)
    .join(', ')} from ${address}`;

async function callFrom(name, host, what) {
  const { node, address } = CALLERS[name];
  const { stdout } = await weft(node, ['sandbox', 'exec', name, '--', ...thirty(host)], { mayFail: true });
  check(what, even(address), tally(stdout));
}

async function callIn(place, netns, host, address, what) {
  console.log(`${place}$ ${shellLine(thirty(host))}`);
  const { stdout } = await run(inNetns(netns, thirty(host)), { mayFail: true });
  check(what, even(address), tally(stdout));
}

/** By name, by VIP, and through the published port of every node. 30 new connections each. */
export async function calls() {
  await callFrom('c1', 'web', 'by name from c1 on n1, which has replicas');
  await callFrom('c3', 'web', 'by name from c3 on n3, which has none');
  await callFrom('c1', VIP, 'by VIP from c1 on n1');
  await callFrom('c3', VIP, 'by VIP from c3 on n3');
  await callIn('r1', sandboxNetns(n1, 'r1'), VIP, '10.20.0.11', 'by VIP from replica r1 itself');
  await callPorts();
  await callIn('n3', n3.netns, `127.0.0.1:${PORT}`, n3.address, 'port on n3 itself, at 127.0.0.1');
}

export async function callPorts() {
  for (const node of NODES) {
    const has = [...replicas.values()].filter((replica) => replica.node === node).length;
    const what = `port ${PORT} of ${node.name} (${has || 'no'} replica${has === 1 ? '' : 's'}) from outside`;
    await callIn('client', CLIENT.netns, `${node.address}:${PORT}`, CLIENT.address, what);
  }
}

/** What another program says about the balancer, in its own words. */
export async function secondOpinion() {
  if ((await ask(n1, '/v1/status')).balancer !== 'ipvs') return;
  const view = async (node, network) => {
    console.log(`\n${node.name}, namespace net-${network}$ ipvsadm -Ln`);
    const { stdout } = await run(inNetns(sandboxNetns(node, `net-${network}`), ['ipvsadm', '-Ln']));
    console.log(stdout.trimEnd());
    const servers = [...stdout.matchAll(/-> ([\d.]+):0 +Route +1 /g)].map((match) => match[1]);
    return [...new Set(servers)].sort().join(' ');
  };
  const onApp = await view(n1, 'app');
  const onIngress = await view(n3, 'ingress');
  check('ipvsadm: real servers of the VIP on n1', '10.20.0.11 10.20.0.12 10.20.0.13', onApp);
  check('ipvsadm: real servers of the port on n3', '10.0.0.11 10.0.0.12 10.0.0.13', onIngress);
}
