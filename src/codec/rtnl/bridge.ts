import type { AttrReader, AttrWriter } from '../attr.js';

/* IFLA_INFO_DATA of kind "bridge", linux/if_link.h. */
const IFLA_BR_FORWARD_DELAY = 1;
const IFLA_BR_AGEING_TIME = 4;
const IFLA_BR_STP_STATE = 5;
const IFLA_BR_VLAN_FILTERING = 7;
const IFLA_BR_MCAST_SNOOPING = 23;
const IFLA_BR_NF_CALL_IPTABLES = 36;
const IFLA_BR_NF_CALL_IP6TABLES = 37;
const IFLA_BR_NF_CALL_ARPTABLES = 38;
const IFLA_BR_VLAN_DEFAULT_PVID = 39;

/** Options of a bridge device; times in hundredths of a second (USER_HZ). */
export interface Bridge {
  forwardDelay?: number;
  ageingTime?: number;
  /** 0 off, 1 the kernel's own STP, 2 a daemon's. */
  stpState?: number;
  /** On a kernel built without CONFIG_BRIDGE_VLAN_FILTERING even writing `false` is answered with EOPNOTSUPP. */
  vlanFiltering?: boolean;
  /** 0 disables the default VLAN. */
  vlanDefaultPvid?: number;
  mcastSnooping?: boolean;
  /** Read only where br_netfilter is loaded; writing needs it too. */
  nfCallIptables?: boolean;
  nfCallIp6tables?: boolean;
  nfCallArptables?: boolean;
}

export function writeBridge(a: AttrWriter, b: Bridge): void {
  a.u32(IFLA_BR_FORWARD_DELAY, b.forwardDelay)
    .u32(IFLA_BR_AGEING_TIME, b.ageingTime)
    .u32(IFLA_BR_STP_STATE, b.stpState)
    .bool(IFLA_BR_MCAST_SNOOPING, b.mcastSnooping)
    .bool(IFLA_BR_VLAN_FILTERING, b.vlanFiltering)
    .u16(IFLA_BR_VLAN_DEFAULT_PVID, b.vlanDefaultPvid)
    .bool(IFLA_BR_NF_CALL_IPTABLES, b.nfCallIptables)
    .bool(IFLA_BR_NF_CALL_IP6TABLES, b.nfCallIp6tables)
    .bool(IFLA_BR_NF_CALL_ARPTABLES, b.nfCallArptables);
}

export function readBridge(a: AttrReader): Bridge {
  const b: Bridge = {};
  while (a.next()) {
    switch (a.type) {
      case IFLA_BR_FORWARD_DELAY:
        b.forwardDelay = a.u32();
        break;
      case IFLA_BR_AGEING_TIME:
        b.ageingTime = a.u32();
        break;
      case IFLA_BR_STP_STATE:
        b.stpState = a.u32();
        break;
      case IFLA_BR_MCAST_SNOOPING:
        b.mcastSnooping = a.bool();
        break;
      case IFLA_BR_VLAN_FILTERING:
        b.vlanFiltering = a.bool();
        break;
      case IFLA_BR_VLAN_DEFAULT_PVID:
        b.vlanDefaultPvid = a.u16();
        break;
      case IFLA_BR_NF_CALL_IPTABLES:
        b.nfCallIptables = a.bool();
        break;
      case IFLA_BR_NF_CALL_IP6TABLES:
        b.nfCallIp6tables = a.bool();
        break;
      case IFLA_BR_NF_CALL_ARPTABLES:
        b.nfCallArptables = a.bool();
        break;
    }
  }
  return b;
}
