// dnsperf against each server, one kind of query after the other.
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { pathOf } from '../lab/run.mjs';
import { queryFile, servicesPatch } from './names.mjs';
import { SERVERS } from './servers.mjs';

const run = promisify(execFile);
/** More rounds say no more: a ratio of processor times moves by a few per cent. */
const MOST = 7;
const SECONDS = 1;
/** Of a latency: 8,000 queries, so that 80 are above the 99th percentile. */
const PACED = { rate: 4000, seconds: 2 };
/** What is asked of whom. `more`: of dnsperf. */
const LOADS = {
  plain: { zone: 'app', servers: ['weft', 'knot', 'nsd', 'unbound'] },
  edns: { zone: 'app', more: ['-e'], servers: ['weft', 'knot', 'nsd', 'unbound'] },
  capitals: { zone: 'app', capitals: true, servers: ['weft', 'knot', 'nsd', 'unbound'] },
  many: { zone: 'many', servers: ['weft', 'knot', 'nsd', 'unbound'] },
  tcp: { zone: 'app', more: ['-m', 'tcp'], servers: ['weft', 'knot', 'nsd', 'unbound'] },
  cached: { zone: 'up', servers: ['weft', 'unbound'] },
};
const CHANGES_MS = 10;
const SERVICES = 10_000;

/** @param {{ directory: string, cpu: number, other: number }} setting servers on one processor, dnsperf on the other */
export async function dnsSides({ directory, cpu, other }, missing) {
  const servers = {};
  for (const [name, start] of Object.entries(SERVERS)) {
    servers[name] = missing(name) ?? (await start({ directory, cpu }));
  }
  const load = new Load(directory, other);
  const rate = (name, kind) => {
    const server = servers[name];
    if (server.missing) return server;
    return { scale: 'k/cpu-s', most: MOST, measure: () => load.perCpuSecond(server, kind) };
  };
  const sides = {};
  for (const [kind, how] of Object.entries(LOADS)) {
    for (const name of how.servers) sides[`${name}.${kind}`] = rate(name, { ...how, kind });
  }
  sides['aardvark.plain'] = rate('aardvark', { zone: 'dns.podman', from: 'app', kind: 'podman' });
  const { weft, unbound } = servers;
  const p99 = (server) => ({ scale: 'ms', most: MOST, measure: () => load.p99(server) });
  sides['weft.p99'] = p99(weft);
  sides['unbound.p99'] = unbound.missing ? unbound : p99(unbound);
  const changes = new Changes(weft.client);
  sides['weft.changing'] = during(rate('weft', { ...LOADS.plain, kind: 'plain' }), () => changes.oneByOne());
  sides['weft.applying'] = during(p99(weft), () => changes.services());
  return { sides, stop: () => weft.client.close() };
}

/** Measures while something else goes on. @param {() => () => Promise<void>} other begins it, and gives what ends it */
function during(side, other) {
  return {
    ...side,
    async measure() {
      const end = other();
      try {
        return await side.measure();
      } finally {
        await end();
      }
    },
  };
}

class Load {
  #files = new Map();

  constructor(directory, cpu) {
    this.directory = directory;
    this.cpu = cpu;
  }

  #file({ kind, zone, from = zone, capitals }) {
    if (!this.#files.has(kind)) {
      const at = path.join(this.directory, `${kind}.queries`);
      const text = queryFile(from, { capitals });
      fs.writeFileSync(at, from === zone ? text : text.replaceAll(`.${from} `, `.${zone} `));
      this.#files.set(kind, at);
    }
    return this.#files.get(kind);
  }

  async #dnsperf({ ns, address, port, tcp, from }, kind, more) {
    const argv = [`--net=${pathOf(ns)}`, 'taskset', '-c', String(this.cpu), 'dnsperf', '-s', address];
    const isTcp = kind.more?.includes('tcp');
    argv.push(
      '-p',
      String((isTcp && tcp) || port),
      '-d',
      this.#file(kind),
      ...(from ? ['-a', from] : []),
      ...(kind.more ?? []),
    );
    const { stdout } = await run('nsenter', [...argv, ...more], { maxBuffer: 64 * 1024 * 1024 });
    return stdout;
  }

  /** Thousands of queries answered for each second of processor time. */
  async perCpuSecond(server, kind) {
    const before = server.cpuSeconds;
    const out = await this.#dnsperf(server, kind, ['-l', String(SECONDS), '-c', '8', '-q', '64']);
    const answered = Number(/Queries completed:\s+(\d+)/.exec(out)?.[1]);
    const refused = Number(/NOERROR (\d+)/.exec(out)?.[1] ?? 0);
    if (refused < answered) throw new Error(`not all answers are good:\n${out}`);
    return answered / 1000 / (server.cpuSeconds - before);
  }

  /** Milliseconds that 99 of 100 queries do not take, at a given rate. */
  async p99(server) {
    const { rate, seconds } = PACED;
    const how = ['-l', String(seconds), '-c', '8', '-q', '64', '-Q', String(rate), '-v'];
    const out = await this.#dnsperf(server, { ...LOADS.plain, kind: 'plain' }, how);
    const times = [...out.matchAll(/^> NOERROR .* ([\d.]+)$/gm)].map(([, time]) => Number(time) * 1000);
    if (times.length < rate) throw new Error(`only ${times.length} answers:\n${out.slice(-2000)}`);
    return times.sort((a, b) => a - b)[Math.floor(times.length * 0.99)];
  }
}

/** Patches, as an agent sends them. Each way begins at once and gives a function that ends it. */
class Changes {
  #revision = 1;
  #rounds = 0;

  constructor(client) {
    this.client = client;
  }

  async #patch(patch) {
    const reply = await this.client.sendPatch({ revision: ++this.#revision, ...patch });
    if (reply.op !== 'applied') throw new Error(`the resolver says ${reply.op}`);
  }

  /** A hundred records a second, of those that are asked for. */
  oneByOne() {
    let n = 0;
    const change = () =>
      this.#patch({ names: { app: { names: { [`n${n % 1000}`]: { a: [`10.9.${n & 1}.${n++ % 250}`] } } } } });
    return this.#repeat(change, CHANGES_MS);
  }

  /** All names of 10,000 services, again and again. */
  services() {
    return this.#repeat(() => this.#patch(servicesPatch(SERVICES, this.#rounds++)), 0);
  }

  #repeat(change, pause) {
    let ended = false;
    const work = (async () => {
      while (!ended) await Promise.all([change(), sleep(pause)]);
    })();
    return async () => {
      ended = true;
      await work;
    };
  }
}
