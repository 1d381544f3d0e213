import type { Cidr, Ip } from '../base/ip.js';
import { WEFT_PROTOCOL } from './address.js';
import { differences, type Kind, STAGE } from './kind.js';

/** RT_TABLE_MAIN. */
export const MAIN_TABLE = 254;

/** Dropped without a word, or refused with an ICMP error: host unreachable, administratively prohibited. */
export type RefusalType = 'blackhole' | 'unreachable' | 'prohibit';

export interface Route {
  /** `0.0.0.0/0` and `::/0` are the default routes. */
  dst: Cidr;
  /** What becomes of packets to it, where that is not to be sent on: such a route has no `dev`. */
  type?: RefusalType;
  dev?: string;
  via?: Ip;
  /** The gateway is reachable on `dev` though no address of `dev` says so (RTNH_F_ONLINK). */
  onlink?: boolean;
  table: number;
  metric?: number;
  prefSrc?: Ip;
  mtu?: number;
  /** Path MTU discovery neither lowers nor raises it (bit RTAX_MTU of RTAX_LOCK). */
  mtuLock?: boolean;
  protocol?: number;
}

export const routeKind: Kind<Route> = {
  name: 'route',
  stages: [STAGE.route],
  stage: () => STAGE.route,
  // A route over a gateway needs the on-link route to the gateway first.
  rank: (o) => (o.via ? 1 : 0),
  key: (o) => `${o.table} ${o.dst} ${o.metric ?? 0}`,
  same(want, have) {
    const gateway = want.via === have.via ? '' : `via ${have.via ?? 'none'}, wanted ${want.via ?? 'none'}`;
    const type = want.type === have.type ? '' : `is ${have.type ?? 'unicast'}, wanted ${want.type ?? 'unicast'}`;
    return [type, differences(want, have, ['dev', 'prefSrc', 'mtu', 'mtuLock']), gateway].filter(Boolean).join('; ');
  },
  // Routes of other protocols in our own namespaces are the kernel's (connected subnets) and go with their address.
  owns: (have) => have.protocol === WEFT_PROTOCOL,
  // With an address go the routes that have it for their source, whichever interface they lead to.
  standsOn: (o, devs) => devs.has(o.dev ?? '') || o.prefSrc !== undefined,
  describe: (o) => {
    const how = o.dev === undefined ? '' : ` dev ${o.dev}`;
    return `${o.type ? `${o.type} ` : ''}route ${o.dst}${o.via ? ` via ${o.via}` : ''}${how} table ${o.table}`;
  },
};
