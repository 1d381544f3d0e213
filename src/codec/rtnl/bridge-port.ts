import type { AttrReader, AttrWriter } from '../attr.js';

/*
 * IFLA_BRPORT_*, linux/if_link.h: IFLA_INFO_SLAVE_DATA of a link whose master is a bridge, and IFLA_PROTINFO in messages of
 * family AF_BRIDGE. Both carry the same attributes.
 */
const IFLA_BRPORT_STATE = 1;
const IFLA_BRPORT_MODE = 4;
const IFLA_BRPORT_LEARNING = 8;
const IFLA_BRPORT_UNICAST_FLOOD = 9;
const IFLA_BRPORT_MCAST_FLOOD = 27;
const IFLA_BRPORT_BCAST_FLOOD = 30;
const IFLA_BRPORT_NEIGH_SUPPRESS = 32;
const IFLA_BRPORT_ISOLATED = 33;

/** Flags of a bridge port. */
export interface BridgePort {
  /** BR_STATE_* of linux/if_bridge.h: 0 disabled, 3 forwarding. */
  state?: number;
  /** May a frame leave by the port it came in by? */
  hairpin?: boolean;
  learning?: boolean;
  /** Flood frames to unknown unicast addresses to this port? */
  unicastFlood?: boolean;
  mcastFlood?: boolean;
  bcastFlood?: boolean;
  /** Answer ARP and ND for neighbours the bridge knows instead of flooding them to this port. */
  neighSuppress?: boolean;
  /** Isolated ports exchange frames with the others only. */
  isolated?: boolean;
}

export function writeBridgePort(a: AttrWriter, p: BridgePort): void {
  a.u8(IFLA_BRPORT_STATE, p.state)
    .bool(IFLA_BRPORT_MODE, p.hairpin)
    .bool(IFLA_BRPORT_LEARNING, p.learning)
    .bool(IFLA_BRPORT_UNICAST_FLOOD, p.unicastFlood)
    .bool(IFLA_BRPORT_MCAST_FLOOD, p.mcastFlood)
    .bool(IFLA_BRPORT_BCAST_FLOOD, p.bcastFlood)
    .bool(IFLA_BRPORT_NEIGH_SUPPRESS, p.neighSuppress)
    .bool(IFLA_BRPORT_ISOLATED, p.isolated);
}

export function readBridgePort(a: AttrReader): BridgePort {
  const p: BridgePort = {};
  while (a.next()) {
    switch (a.type) {
      case IFLA_BRPORT_STATE:
        p.state = a.u8();
        break;
      case IFLA_BRPORT_MODE:
        p.hairpin = a.bool();
        break;
      case IFLA_BRPORT_LEARNING:
        p.learning = a.bool();
        break;
      case IFLA_BRPORT_UNICAST_FLOOD:
        p.unicastFlood = a.bool();
        break;
      case IFLA_BRPORT_MCAST_FLOOD:
        p.mcastFlood = a.bool();
        break;
      case IFLA_BRPORT_BCAST_FLOOD:
        p.bcastFlood = a.bool();
        break;
      case IFLA_BRPORT_NEIGH_SUPPRESS:
        p.neighSuppress = a.bool();
        break;
      case IFLA_BRPORT_ISOLATED:
        p.isolated = a.bool();
        break;
    }
  }
  return p;
}
