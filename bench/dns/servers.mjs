// Name servers, each in a namespace of its own and all on one processor.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DIST, load } from '../lab/dist.mjs';
import { ip, pathOf, run } from '../lab/run.mjs';
import { namesOf, TTL, viewOf, zoneFile } from './names.mjs';

const RESOLVER = path.join(DIST, 'weft-resolver.js');
const LOCAL = ['app', 'many'];
const READY_MS = 60_000;

/** A server that runs: where it is asked, and its processes, which are one session. */
export class Server {
  /**
   * @param {{ ns: string, address: string, port: number, from?: string, session?: number, program?: string }} where
   *   program: its name, where it leaves the session
   */
  constructor(where) {
    Object.assign(this, where);
  }

  /** Processor time of all its processes and threads so far, in seconds. */
  get cpuSeconds() {
    let nanoseconds = 0;
    for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
        const end = stat.lastIndexOf(')');
        // Behind the name: state, parent, group, session.
        const session = Number(stat.slice(end + 2).split(' ')[3]);
        if (this.program ? stat.slice(stat.indexOf('(') + 1, end) !== this.program : session !== this.session) continue;
        for (const task of fs.readdirSync(`/proc/${pid}/task`))
          nanoseconds += Number(fs.readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
      } catch (cause) {
        if (cause.code !== 'ENOENT' && cause.code !== 'ESRCH') throw cause;
      }
    }
    return nanoseconds / 1e9;
  }
}

/** A namespace whose lo has these addresses besides its own. */
function namespace(ns, addresses = []) {
  spawnSync('ip', ['netns', 'add', ns]);
  ip(ns, 'link set lo up', ...addresses.map((one) => `address add ${one}/32 dev lo`));
}

/** Starts a program in a session of its own. */
function start(ns, cpu, argv) {
  const words = [`--net=${pathOf(ns)}`, 'taskset', '-c', String(cpu), ...argv];
  return spawn('nsenter', words, { detached: true, stdio: 'ignore' }).pid;
}

async function answering(server, name) {
  const { ns, address, port, from } = server;
  const ask = [
    'dig',
    `@${address}`,
    '-p',
    String(port),
    ...(from ? ['-b', from] : []),
    '+short',
    '+tries=1',
    '+time=1',
    name,
  ];
  for (const end = Date.now() + READY_MS; Date.now() < end; await sleep(100)) {
    try {
      if (/^10\./.test(run(ns, ask))) return server;
    } catch {}
  }
  throw new Error(`the server in ${ns} does not answer`);
}

function file(directory, name, text) {
  const at = path.join(directory, name);
  fs.mkdirSync(path.dirname(at), { recursive: true });
  fs.writeFileSync(at, text);
  return at;
}

/** Authoritative servers read the same zone files. */
function zones(directory, served) {
  return served.map((zone) => ({ zone, at: file(directory, `${zone}.zone`, zoneFile(zone)) }));
}

function knotConfig(directory, name, address, served) {
  const home = path.join(directory, name);
  const each = zones(directory, served).map(({ zone, at }) => `  - domain: ${zone}\n    file: ${at}\n`);
  return file(
    home,
    'knot.conf',
    `server:\n    rundir: ${home}\n    listen: ${address}@53\n    udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\n` +
      `database:\n    storage: ${home}\ntemplate:\n  - id: default\n    zonefile-load: whole\n    journal-content: none\nzone:\n${each.join('')}`,
  );
}

async function knot({ directory, cpu }) {
  namespace('dns-knot');
  const session = start('dns-knot', cpu, ['knotd', '-c', knotConfig(directory, 'knot', '127.0.0.1', LOCAL)]);
  return answering(new Server({ ns: 'dns-knot', address: '127.0.0.1', port: 53, session }), 'n1.app');
}

/** Answers what others forward; on any processor, for it is asked once a name. */
async function upstream(ns, address, { directory, cpu }) {
  const session = start(ns, cpu, ['knotd', '-c', knotConfig(directory, `up-${ns}`, address, ['up'])]);
  return answering(new Server({ ns, address, port: 53, session }), 'n1.up');
}

async function nsd({ directory, cpu }) {
  namespace('dns-nsd');
  const home = path.join(directory, 'nsd');
  const each = zones(directory, LOCAL).map(({ zone, at }) => `zone:\n  name: ${zone}\n  zonefile: ${at}\n`);
  const files = ['pidfile', 'xfrdfile', 'zonelistfile'].map((key) => `  ${key}: "${home}/${key}"\n`).join('');
  const config = file(
    home,
    'nsd.conf',
    `server:\n  ip-address: 127.0.0.1\n  server-count: 1\n  username: ""\n  zonesdir: "${home}"\n  database: ""\n${files}` +
      `remote-control:\n  control-enable: no\n${each.join('')}`,
  );
  const session = start('dns-nsd', cpu, ['nsd', '-d', '-c', config]);
  return answering(new Server({ ns: 'dns-nsd', address: '127.0.0.1', port: 53, session }), 'n1.app');
}

async function unbound(setting) {
  const { directory, cpu } = setting;
  namespace('dns-unbound');
  await upstream('dns-unbound', '127.0.0.53', setting);
  const data = LOCAL.flatMap((zone) => [
    `  local-zone: "${zone}." static`,
    ...namesOf(zone).map((one) => `  local-data: "${one.name}.${zone}. ${TTL} A ${one.address}"`),
  ]);
  const config = file(
    path.join(directory, 'unbound'),
    'unbound.conf',
    `server:\n  interface: 127.0.0.1\n  num-threads: 1\n  username: ""\n  chroot: ""\n  directory: "${directory}"\n  pidfile: ""\n` +
      `  use-syslog: no\n  module-config: "iterator"\n  do-not-query-localhost: no\n  access-control: 127.0.0.0/8 allow\n` +
      `${data.join('\n')}\nforward-zone:\n  name: "up."\n  forward-addr: 127.0.0.53\nremote-control:\n  control-enable: no\n`,
  );
  const session = start('dns-unbound', cpu, ['unbound', '-d', '-c', config]);
  return answering(new Server({ ns: 'dns-unbound', address: '127.0.0.1', port: 53, session }), 'n1.app');
}

/** It answers containers that it knows by their addresses, and calls its zone dns.podman whatever the network is. */
async function aardvark({ directory, cpu }) {
  const [address, from] = ['10.89.0.1', '10.89.0.2'];
  namespace('dns-aardvark', [address, from]);
  const rows = namesOf('app').map(
    (one, i) => `${i.toString(16).padStart(64, '0')} ${i === 0 ? from : one.address}  ${one.name}`,
  );
  const home = path.dirname(file(path.join(directory, 'aardvark'), 'app', `${address}\n${rows.join('\n')}\n`));
  start('dns-aardvark', cpu, ['/usr/lib/podman/aardvark-dns', '--config', home, '--port', '53', 'run']);
  return answering(
    new Server({ ns: 'dns-aardvark', address, port: 53, from, program: 'aardvark-dns' }),
    'n1.dns.podman',
  );
}

/** weft's resolver alone, as the agent starts it, told of one sandbox; `client` is the agent's end. */
async function weft(setting) {
  const { directory, cpu } = setting;
  namespace('dns-node');
  namespace('dns-sandbox');
  await upstream('dns-node', '127.0.0.53', setting);
  const [{ ResolverClient }] = await load(['dns/client']);
  const runDir = path.join(directory, 'resolver');
  fs.mkdirSync(runDir);
  const command = ['nsenter', `--net=${pathOf('dns-node')}`, 'taskset', '-c', String(cpu), process.execPath, RESOLVER];
  const client = new ResolverClient({ runDir, command });
  await client.connect();
  const { sandboxes } = await client.sendView(viewOf(LOCAL, pathOf('dns-sandbox')));
  const { pid } = await client.status();
  const { udp, tcp } = sandboxes.c;
  const server = new Server({ ns: 'dns-sandbox', address: '127.0.0.11', port: udp, session: pid });
  return Object.assign(await answering(server, 'n1.app'), { tcp, client, pid });
}

export const SERVERS = { weft, knot, nsd, unbound, aardvark };
