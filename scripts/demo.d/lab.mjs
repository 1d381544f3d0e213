// The demo's machines: network namespaces `weft-demo-…` joined by a router, and everything's end.
import fs from 'node:fs';
import { run, until } from './run.mjs';

/** Everything that the demo writes. */
export const ROOT = '/run/weft-demo';
const NETNS = '/run/netns';
const PREFIX = 'weft-demo-';
/** In ROOT while this demo runs: process id and start time. */
const OWNER = `${ROOT}/owner`;
/** In ROOT when `ip netns` had no directory before. */
const MADE_NETNS = `${ROOT}/made-netns`;

/** RFC 2544's range for the underlay, RFC 5737's TEST-NET-3 for a client from elsewhere. */
const underlay = (i) => ({ address: `198.18.${i}.2`, router: `198.18.${i}.1` });
export const NODES = [1, 2, 3].map((i) => ({
  name: `n${i}`,
  netns: `${NETNS}/${PREFIX}n${i}`,
  ...underlay(i),
  ingress: `10.0.0.10${i}`,
  runDir: `${ROOT}/n${i}/run`,
  stateDir: `${ROOT}/n${i}/state`,
  socket: `${ROOT}/n${i}/run/weft.sock`,
  log: `${ROOT}/n${i}/weftd.log`,
}));
export const CLIENT = {
  name: 'client',
  netns: `${NETNS}/${PREFIX}client`,
  address: '203.0.113.10',
  router: '203.0.113.1',
};
const ROUTER = `${PREFIX}router`;

/** A command in a namespace. */
export const inNetns = (netns, argv) => ['nsenter', `--net=${netns}`, ...argv];

/** Makes the namespaces and the wires: each node, and the client, in a subnet of its own behind the router. */
export async function wire() {
  const made = !isMountPoint(NETNS);
  fs.mkdirSync(ROOT, { mode: 0o700 });
  fs.writeFileSync(OWNER, identity(process.pid));
  if (made) fs.writeFileSync(MADE_NETNS, '');
  const ends = [...NODES, CLIENT];
  await batch(
    [],
    [ROUTER, ...ends.map((end) => PREFIX + end.name)].map((name) => `netns add ${name}`),
  );
  const wires = ends.map((end) => `link add eth0 netns ${PREFIX}${end.name} type veth peer name ${end.name}`);
  await batch(['-n', ROUTER], [...wires, 'link set lo up', ...ends.flatMap((end) => up(end.name, end.router))]);
  for (const end of ends) {
    const route = `route add default via ${end.router}`;
    await batch(['-n', PREFIX + end.name], ['link set lo up', ...up('eth0', end.address), route]);
  }
  await run(inNetns(`${NETNS}/${ROUTER}`, ['sysctl', '-qw', 'net.ipv4.ip_forward=1']));
}

const up = (dev, address) => [`address add ${address}/24 dev ${dev}`, `link set ${dev} up`];

const batch = (options, lines) => run(['ip', ...options, '-batch', '-'], { input: `${lines.join('\n')}\n` });

/** The demo that runs now, as a process id; undefined when none does. */
export function livingOwner() {
  const owner = readOr(OWNER, '');
  const pid = Number(owner.split(' ')[0]);
  return owner !== '' && identity(pid) === owner ? pid : undefined;
}

/** The demo stays behind without its process. */
export const disown = () => fs.rmSync(OWNER);

export const exists = () => fs.existsSync(ROOT) || netnsNames().length > 0;

/**
 * Removes everything that a demo left, in whatever state: processes that live in its namespaces, mounts, namespaces,
 * files. Knows its own by the names of namespaces and by ROOT, and touches nothing else.
 */
export async function takeDown() {
  await until('the processes in the namespaces of the demo end', 10_000, () =>
    killInside(namespaces()) === 0 ? true : undefined,
  );
  const mounts = mountPoints().filter((at) => at.startsWith(`${ROOT}/`));
  for (const at of mounts.reverse()) await run(['umount', '--lazy', at]);
  for (const name of netnsNames()) await run(['ip', 'netns', 'delete', name]);
  if (fs.existsSync(MADE_NETNS) && isMountPoint(NETNS) && fs.readdirSync(NETNS).length === 0) {
    await run(['umount', NETNS]);
    fs.rmdirSync(NETNS);
  }
  fs.rmSync(ROOT, { recursive: true, force: true });
}

/** Identities of the demo's network namespaces: of its machines, and of what their agents pinned. */
function namespaces() {
  const pins = mountPoints().filter((at) => at.startsWith(`${ROOT}/`));
  const paths = [...netnsNames().map((name) => `${NETNS}/${name}`), ...pins];
  const own = fs.statSync('/proc/self/ns/net');
  return new Set(
    paths
      .map((path) => fs.statSync(path))
      .filter((at) => at.dev === own.dev)
      .map((at) => at.ino),
  );
}

/** SIGKILL for each process in these namespaces. Returns how many there were; zombies are in none. */
function killInside(inodes) {
  const inside = fs.readdirSync('/proc').filter((entry) => {
    if (!/^\d+$/.test(entry)) return false;
    try {
      return inodes.has(fs.statSync(`/proc/${entry}/ns/net`).ino);
    } catch {
      return false; // ended since the directory was read
    }
  });
  for (const pid of inside) kill(Number(pid));
  return inside.length;
}

function kill(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (cause) {
    if (cause.code !== 'ESRCH') throw cause;
  }
}

const netnsNames = () => (fs.existsSync(NETNS) ? fs.readdirSync(NETNS).filter((name) => name.startsWith(PREFIX)) : []);

/** In the order in which they were mounted (proc(5), mountinfo). */
const mountPoints = () =>
  fs
    .readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .flatMap((line) => line.split(' ')[4] ?? []);

const isMountPoint = (path) => mountPoints().includes(path);

/** Process id and start time (proc(5), stat, field 22): a number that was given again is another process. */
function identity(pid) {
  const stat = readOr(`/proc/${pid}/stat`, '');
  return stat === '' ? '' : `${pid} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`;
}

function readOr(file, otherwise) {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return otherwise;
  }
}
