import type { Test } from 'tap';
import type { Family } from '../../src/base/ip.js';
import { patient } from './lab.js';
import {
  type MeshLab,
  NODES,
  PUBLISHED,
  REPLICA_NAMES,
  REPLICAS,
  type Replica,
  TARGET,
  underlay,
  VIP,
} from './mesh-lab.js';
import type { Traffic } from './traffic-port.js';

const PROTOS = ['tcp', 'udp'] as const;
/** Requests on a connection that is kept alive, before its client opens another: a drain waits for no longer than these. */
const KEPT = 10;
/** Between the requests of one caller. */
const GAP_MS = 5;

/** What `POST /v1/drain` of each node answers for both endpoints of a replica. */
async function drained(lab: MeshLab, name: Replica): Promise<{ left: number; applied: boolean }[]> {
  const { node } = REPLICAS[name];
  const asked = NODES.flatMap((i) =>
    [`${name}:app`, `${name}:ingress`].map((id) => {
      const body = { endpoint: i === node ? id : `n${node}/${id}`, timeoutMs: patient(30_000) };
      return lab.api(i).post<{ left: number; applied: boolean }>('/v1/drain', JSON.stringify(body));
    }),
  );
  return Promise.all(asked);
}

/**
 * Replicas are replaced one after the other while everybody calls: each drains on every node, goes when no connection is
 * left, and has a successor at its address. Over TCP with connections that are kept for some requests, with one for each, and
 * over UDP; by VIP from the node without a replica, and from outside through that node and one with replicas.
 */
export async function rollingUpdate(t: Test, lab: MeshLab): Promise<void> {
  const callers = [lab.container(3), lab.outside];
  for (const proto of PROTOS) {
    for (const of of lab.families) {
      await lab.container(3).load(proto, VIP[of], TARGET, GAP_MS, { kept: KEPT });
      for (const node of [1, 3] as const)
        await lab.outside.load(proto, underlay(node, of), PUBLISHED, GAP_MS, { kept: KEPT });
    }
  }
  for (const name of REPLICA_NAMES) {
    for (const answer of await drained(lab, name)) t.match(answer, { left: 0, applied: true }, name);
    await lab.disconnect(name);
    await lab.change(name, {});
    for (const caller of callers) await caller.turn();
  }
  for (const caller of callers) {
    const { tally, failures } = await caller.relax();
    t.same(Object.keys(tally), ['ok'], `${caller.name}: ${JSON.stringify(failures.slice(0, 5))}`);
    t.ok((tally.ok ?? 0) > 0, `${tally.ok} requests`);
  }
}

/** Below those that callers are given, and none that is published. */
const FIRST_PORT = 9500;
const SOME = 9;

interface Again {
  from: Traffic;
  host: string;
  port: number;
}

/**
 * A caller that uses the same source port again after its backend is gone: a connection that the backend has closed, one that
 * it left open, and a flow of datagrams, of a caller of the VIP and of one outside.
 */
export class PortsAgain {
  readonly #flows: { name: string; proto: 'tcp' | 'udp'; again: Again; localPort: number; ended: boolean }[] = [];

  constructor(
    readonly lab: MeshLab,
    readonly of: Family,
    /** Whose flows they are. */
    readonly backend: Replica,
  ) {}

  async open(): Promise<void> {
    const { lab, of } = this;
    const callers: Again[] = [
      { from: lab.container(3), host: VIP[of], port: TARGET },
      { from: lab.outside, host: underlay(3, of), port: PUBLISHED },
    ];
    for (const again of callers) {
      let localPort = FIRST_PORT;
      const find = async (proto: 'tcp' | 'udp', ended: boolean) => {
        const found = await this.#find(again, proto, localPort);
        this.#flows.push({ name: `${again.from.name} ${proto} ${ended}`, proto, again, localPort: found, ended });
        if (ended) await again.from.end(flowOf(found));
        localPort = found + 1;
      };
      await find('tcp', true);
      await find('tcp', false);
      await find('udp', false);
    }
  }

  /** The same ports once more, at once. @returns who answers, by flow */
  async reopened(): Promise<{ name: string; text: string }[]> {
    const out = [];
    for (const { name, proto, again, localPort, ended } of this.#flows) {
      const { from, host, port } = again;
      // Not in TIME_WAIT, in which its own kernel would keep the port.
      if (!ended) await from.reset(flowOf(localPort));
      await from.open(`again ${localPort}`, proto, host, port, localPort);
      out.push({ name, text: await from.say(`again ${localPort}`) });
      await from.close(`again ${localPort}`);
    }
    return out;
  }

  /** @returns the local port of a flow that the backend answers */
  async #find({ from, host, port }: Again, proto: 'tcp' | 'udp', first: number): Promise<number> {
    for (let localPort = first; localPort < first + SOME; localPort++) {
      await from.open(flowOf(localPort), proto, host, port, localPort);
      if ((await from.say(flowOf(localPort))).startsWith(`${this.backend} `)) return localPort;
      await from.close(flowOf(localPort));
    }
    throw new Error(`${from.name}: no flow was with ${this.backend}`);
  }
}

const flowOf = (localPort: number): string => `port ${localPort}`;
