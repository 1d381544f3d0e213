// The traffic tool (native/): servers in namespaces, and measurements against them.
import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { TARGET } from './lab/addresses.mjs';
import { pathOf } from './lab/run.mjs';

const TOOL = fileURLToPath(new URL('../build/bench/traffic', import.meta.url));
const SOURCE = fileURLToPath(new URL('native', import.meta.url));

/** Operations of one measurement: about 50 ms each, so that many rounds fit in. A client has 28,000 ports, and a flow is remembered for 30 s. */
const ROUND_TRIPS = 1500;
const CONNECTIONS = 400;
const BULK_MS = 250;
/** A measurement that is stuck ends itself by its own silence limit; this is for one that is merely endless. */
const LIMIT_MS = 30_000;

export function buildTool() {
  const { status, error, stderr } = spawnSync('make', ['-s', '-C', SOURCE], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`cannot build the traffic tool: ${error?.message ?? stderr.trim()}`);
}

/** Traffic on given processors: `cpu` for both sides of a latency, `other` for the far side of a bulk stream. */
export class Traffic {
  #servers = [];

  /** @param {{ cpu: number, other: number }} cpus */
  constructor(cpus) {
    this.cpus = cpus;
  }

  /** Serves in a namespace until `stop`. @param {string} ns */
  async serve(ns) {
    const { cpu, other } = this.cpus;
    const argv = [`--net=${pathOf(ns)}`, TOOL, 'serve', cpu, other, TARGET].map(String);
    const child = spawn('nsenter', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#servers.push(child);
    const first = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
    if (String(first[0]) !== 'ready\n') throw new Error(`no server in ${ns}: exit ${first[0]}`);
  }

  /** Microseconds of the median round trip on one connection. @returns {Promise<number>} */
  async established(ns, address, port = TARGET) {
    return (await this.#measure(ns, 'established', address, port, ROUND_TRIPS)).p50 / 1e3;
  }

  /** Microseconds of the median connect, request, reply and reset. @returns {Promise<number>} */
  async connect(ns, address, port = TARGET) {
    return (await this.#measure(ns, 'connect', address, port, CONNECTIONS)).p50 / 1e3;
  }

  /** Gigabits a second of one stream. @returns {Promise<number>} */
  async bulk(ns, address, port = TARGET + 1) {
    const { bytes, ns: time } = await this.#measure(ns, 'bulk', address, port, BULK_MS);
    return (bytes * 8) / time;
  }

  async #measure(ns, mode, address, port, amount) {
    const argv = [`--net=${pathOf(ns)}`, TOOL, mode, this.cpus.cpu, address, port, amount].map(String);
    try {
      const { stdout } = await promisify(execFile)('nsenter', argv, { timeout: LIMIT_MS });
      return JSON.parse(stdout);
    } catch (cause) {
      const why = cause.stderr?.trim() || cause.message;
      throw new Error(`${mode} from ${ns} to ${address}:${port}: ${why}`);
    }
  }

  stop() {
    for (const child of this.#servers) child.kill('SIGTERM');
  }
}
