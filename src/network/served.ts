import { backendsOf, isActive, preferred } from '../balance/backends.js';
import type { Ip, Mac } from '../base/ip.js';
import type { Stored, Wish } from '../model/registry.js';
import { familiesOf } from './world.js';

/** Backends of a service on one network that take connections, and the ports by which they are asked for. */
export interface Served {
  /** One of each endpoint. `weight` is 1 when not given; `priority` 1 is asked while none of 0 answers. */
  backends: { a?: Ip; aaaa?: Ip; weight?: number; priority?: number }[];
  /** Ports that lead to another than their own number, or have a name; the first that fits counts. */
  ports?: ServedPort[];
}

/** Numbers `from` to `to` lead to `target` and the numbers behind it. */
export interface ServedPort {
  proto: string;
  from: number;
  to: number;
  target: number;
  name?: string;
}

export const addressesOf = ({ a, aaaa }: Served['backends'][number]): Ip[] =>
  [a, aaaa].filter((ip) => ip !== undefined);

/** Backends of other nodes come after those of this one where the service prefers these. */
export function servedBy(wish: Wish, on: Stored<'networks'>, service: Stored<'services'>): Served {
  // An endpoint's addresses of both families share its MAC.
  const found = new Map<Mac, Served['backends'][number]>();
  for (const of of familiesOf(on)) {
    const backends = backendsOf(wish, service.id, on.id, of).filter(isActive);
    const first = new Set(
      preferred(service, backends)
        .filter(isActive)
        .map(({ ip }) => ip),
    );
    for (const { ip, mac, weight } of backends) {
      found.set(mac, {
        ...found.get(mac),
        ...(of === 4 ? { a: ip } : { aaaa: ip }),
        ...(weight !== 1 && { weight }),
        ...(!first.has(ip) && { priority: 1 }),
      });
    }
  }
  const ports = portsOf(service.spec);
  return { backends: [...found.values()], ...(ports.length > 0 && { ports }) };
}

/** As declared, then as published: 8080 leads to 80 where it is published so. */
function portsOf({ ports, publish }: Stored<'services'>['spec']): ServedPort[] {
  const declared = ports.map(({ port, target, proto, name }) => {
    return { proto, from: port, to: port, target, ...(name !== undefined && { name }) };
  });
  const published = publish.map(({ published: from, publishedEnd, target, proto }) => {
    return { proto, from, to: publishedEnd ?? from, target };
  });
  return [...declared, ...published.filter(({ from, target }) => from > 0 && from !== target)];
}
