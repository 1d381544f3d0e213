import type { Family, Ip } from '../base/ip.js';
import { valueHex } from '../codec/nft/types.js';
import type { World } from '../network/world.js';
import { type Asked, assignmentsOf } from './assign.js';
import type { Backend } from './backends.js';
import { frontendKey } from './frontend.js';
import { marksOf } from './ipvs/balancer.js';

/** What was sent towards backends: replies pass no balancer. */
export interface Counts {
  packets: number;
  /** Of IP packets, without the Ethernet header. */
  bytes: number;
  /** Flows that were given to the backend. */
  connections: number;
}

/** Flows that a balancer remembers now. */
export interface Flows {
  /** Established TCP connections. */
  active: number;
  /** All others: half open, closing, and what has no connections (UDP). */
  inactive: number;
}

/** What a counter counts for: a service on a network, in one family. */
export interface Subject {
  service: string;
  network: string;
  family: Family;
  backends: readonly Backend[];
  /** Addresses of the backends by the hex that stands for them in maps. */
  byId: ReadonlyMap<string, Ip>;
}

/** A counter of the kernel as it was read. */
export interface Reading extends Counts {
  /** Names it among all counters of the node. */
  id: string;
  subject: Subject;
  /** Undefined for what is no backend any more. */
  backend: Ip | undefined;
}

/** Who is meant by what stands in a balancer's kernel objects. */
export class Directory {
  readonly subjects: readonly Subject[];
  readonly #frontends = new Map<string, Subject>();
  readonly #marks = new Map<string, Subject>();

  constructor(world: World) {
    const asked = [...world.wish.services.values()].flatMap((service) => [...assignmentsOf(world, service)]);
    this.subjects = asked.map((one) => this.#enter(world, one));
  }

  #enter(world: World, { arena, assignment }: Asked): Subject {
    const { service, network, family, frontends, backends } = assignment;
    const byId = new Map(backends.map(({ ip, id }) => [valueHex('mark', id), ip]));
    const subject: Subject = { service: service.id, network, family, backends, byId };
    for (const frontend of frontends) this.#frontends.set(`${arena.ns} ${frontendKey(family, frontend)}`, subject);
    // A service without backends has no virtual server yet, and need not get its marks by being looked at.
    const marks = world.balancer.name === 'ipvs' && backends.length > 0 ? marksOf(world, arena, assignment) : [];
    for (const mark of marks) this.#marks.set(`${arena.ns} ${family} ${mark}`, subject);
    return subject;
  }

  /** By the part of a key of table `bridge weft` that names a frontend. */
  ofFrontend(ns: string, key: string): Subject | undefined {
    return this.#frontends.get(`${ns} ${key}`);
  }

  /** By the firewall mark of a virtual server. */
  ofMark(ns: string, of: Family, mark: number): Subject | undefined {
    return this.#marks.get(`${ns} ${of} ${mark}`);
  }
}
