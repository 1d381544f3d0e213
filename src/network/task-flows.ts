import { bits, type Family, type Ip } from '../base/ip.js';
import { meshNumber, publishedSpan } from '../model/published.js';
import type { Stored } from '../model/registry.js';
import type { UdpAlias, UdpFlows, UdpWay } from '../objects/udp-flows.js';
import { answering, type Membership, membershipsOf, meshPortsOf, ownAddress, ownVips } from './task.js';
import type { Wants, World } from './world.js';

/**
 * Where UDP flows lead in a sandbox that serves, as the rules of ./task.ts lead their first datagrams: a port whose target
 * changes takes its flows along.
 */
export function taskFlows(world: World, sandbox: Stored<'sandboxes'>, wants: Wants): void {
  const found = ([4, 6] as const).flatMap((of) =>
    membershipsOf(world, sandbox.id).flatMap((member) => {
      const own = ownAddress(member.endpoint, of);
      return own === undefined ? [] : [{ own, of, member, to: answering(world, member, of) }];
    }),
  );
  if (found.length === 0) return;
  const object: UdpFlows = {
    ways: found.flatMap(({ member, of, own, to }) => [...vipWays(member, of, own), ...meshWays(member, of, to)]),
    own: found.flatMap(({ of, own, to }) => [...new Set([own, to])].map((ip) => `${ip}/${bits(of)}`)),
    aliases: found.flatMap(({ member, of, own }) => ownVips(member, of).map((ip): UdpAlias => ({ ip, target: own }))),
  };
  wants.add(sandbox.id, 'udp-flows', 'services of the task', object);
}

/** Declared ports of VIPs. */
function vipWays(member: Membership, of: Family, target: Ip): UdpWay[] {
  const declared = member.service.spec.ports.filter(({ proto }) => proto === 'udp');
  return ownVips(member, of).flatMap((ip) =>
    declared.map((p) => ({ family: of, ip, from: p.port, to: p.port, target, first: p.target })),
  );
}

/** Published ports, at whatever node they were dialled. */
function meshWays({ network, service }: Membership, of: Family, target: Ip): UdpWay[] {
  if (!network.spec.ingress) return [];
  return meshPortsOf(service, of)
    .filter(({ proto }) => proto === 'udp')
    .map((p) => {
      const { from, to } = publishedSpan(p);
      const number = meshNumber(p);
      return { family: of, from: number, to: number + to - from, target, first: p.target };
    });
}
