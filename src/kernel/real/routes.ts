import { parseCidr } from '../../base/cidr.js';
import type { WeftError } from '../../base/errors.js';
import { NLM_F_CREATE, NLM_F_REPLACE } from '../../codec/netlink.js';
import { AF_INET, AF_INET6, AF_UNSPEC } from '../../codec/rtnl/family.js';
import {
  type Route as RouteMessage,
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_LOCAL,
  RTAX_MTU,
  RTM_DELROUTE,
  RTM_F_CLONED,
  RTM_GETROUTE,
  RTM_NEWROUTE,
  RTN_BLACKHOLE,
  RTN_PROHIBIT,
  RTN_UNICAST,
  RTN_UNREACHABLE,
  RTNH_F_ONLINK,
  readRoute,
  writeRoute,
  writeRouteDump,
} from '../../codec/rtnl/route.js';
import { WEFT_PROTOCOL } from '../../objects/address.js';
import type { Ns } from '../../objects/kind.js';
import type { RefusalType, Route } from '../../objects/route.js';
import type { Op } from '../../reconcile/plan.js';
import type { KindPort } from '../port.js';
import { oneByOne, outcome, requireIndex, spaceFor } from './port.js';
import type { Spaces } from './spaces.js';

const MTU_LOCK = 1 << RTAX_MTU;

/** linux/rtnetlink.h */
const REFUSALS: readonly (readonly [RefusalType, number])[] = [
  ['blackhole', RTN_BLACKHOLE],
  ['unreachable', RTN_UNREACHABLE],
  ['prohibit', RTN_PROHIBIT],
];

/** Routes that send on, or refuse to, of all tables but `local`, which the kernel keeps itself. */
export class RoutePort implements KindPort<Route> {
  constructor(readonly spaces: Spaces) {}

  async observe(ns: Ns): Promise<Route[]> {
    const space = this.spaces.open(ns);
    if (!space) return [];
    const names = await space.namesByIndex();
    const out: Route[] = [];
    for (const row of await space.rtnl.dump(RTM_GETROUTE, writeRouteDump, { family: AF_UNSPEC })) {
      const m = readRoute(row.body);
      if (m.table === RT_TABLE_LOCAL || m.flags & RTM_F_CLONED) continue;
      const refusal = REFUSALS.find(([, number]) => number === m.type)?.[0];
      const dev = m.oif === undefined ? undefined : names.get(m.oif);
      // IPv6 shows those that refuse on the loopback.
      if (refusal) out.push(decoded(m, { type: refusal }));
      else if (m.type === RTN_UNICAST && dev !== undefined) out.push(decoded(m, { dev }));
    }
    return out;
  }

  async apply(ns: Ns, ops: readonly Op<Route>[]): Promise<(WeftError | undefined)[]> {
    const space = spaceFor(this.spaces, ns);
    const indexes = await space.indexes();
    return oneByOne(ops, async (op) => {
      const m = encoded((op.verb === 'remove' ? op.have : op.want) as Route, indexes, op);
      if (op.verb === 'remove') return outcome(op, await space.rtnl.request(RTM_DELROUTE, 0, writeRoute, m));
      return outcome(op, await space.rtnl.request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, writeRoute, m));
    });
  }
}

function decoded(m: RouteMessage, to: Pick<Route, 'dev' | 'type'>): Route {
  const any = m.family === AF_INET ? '0.0.0.0' : '::';
  // The kernel gives an IPv6 route without metric 1024 (IP6_RT_PRIO_USER).
  const metric = m.family === AF_INET6 && m.priority === 1024 ? 0 : (m.priority ?? 0);
  return {
    dst: `${m.dst ?? any}/${m.dstLength}`,
    ...to,
    table: m.table,
    metric,
    protocol: m.protocol,
    ...(m.gateway !== undefined && { via: m.gateway }),
    ...(m.prefsrc !== undefined && { prefSrc: m.prefsrc }),
    ...(m.metrics?.mtu !== undefined && { mtu: m.metrics.mtu }),
    ...(((m.metrics?.lock ?? 0) & MTU_LOCK) !== 0 && { mtuLock: true }),
  };
}

function encoded(o: Route, indexes: ReadonlyMap<string, number>, op: Op): RouteMessage {
  const prefix = parseCidr(o.dst);
  return {
    family: prefix.family === 4 ? AF_INET : AF_INET6,
    ...(prefix.length > 0 && { dst: prefix.first }),
    dstLength: prefix.length,
    table: o.table,
    protocol: WEFT_PROTOCOL,
    scope: o.via === undefined && o.type === undefined ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
    type: REFUSALS.find(([name]) => name === o.type)?.[1] ?? RTN_UNICAST,
    flags: o.onlink ? RTNH_F_ONLINK : 0,
    ...(o.dev !== undefined && { oif: requireIndex(indexes, o.dev, op) }),
    ...(o.metric !== undefined && o.metric > 0 && { priority: o.metric }),
    ...(o.via !== undefined && { gateway: o.via }),
    ...(o.prefSrc !== undefined && { prefsrc: o.prefSrc }),
    ...(o.mtu !== undefined && { metrics: { mtu: o.mtu, ...(o.mtuLock && { lock: MTU_LOCK }) } }),
  };
}
