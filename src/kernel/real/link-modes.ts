import {
  IPVLAN_MODE_L2,
  IPVLAN_MODE_L3,
  IPVLAN_MODE_L3S,
  type LinkInfo,
  MACVLAN_MODE_BRIDGE,
  MACVLAN_MODE_PASSTHRU,
  MACVLAN_MODE_PRIVATE,
  MACVLAN_MODE_VEPA,
} from '../../codec/rtnl/linkinfo.js';
import type { IpvlanLink, MacvlanLink, StackedLink } from '../../objects/link.js';

const MACVLAN: Readonly<Record<MacvlanLink['mode'], number>> = {
  bridge: MACVLAN_MODE_BRIDGE,
  private: MACVLAN_MODE_PRIVATE,
  vepa: MACVLAN_MODE_VEPA,
  passthru: MACVLAN_MODE_PASSTHRU,
};

const IPVLAN: Readonly<Record<IpvlanLink['mode'], number>> = {
  l2: IPVLAN_MODE_L2,
  l3: IPVLAN_MODE_L3,
  l3s: IPVLAN_MODE_L3S,
};

/** What the kernel is told of a link that stands on another. */
export function stackedInfo(want: StackedLink): LinkInfo<never> {
  if (want.type === 'vlan') return { kind: 'vlan', id: want.id };
  if (want.type === 'macvlan') return { kind: 'macvlan', mode: MACVLAN[want.mode] };
  return { kind: 'ipvlan', mode: IPVLAN[want.mode] };
}

/** Type and mode of a link that the kernel shows; undefined for one of another kind or a mode that weft does not use. */
export function stackedMode(
  info: LinkInfo<unknown>,
): Pick<MacvlanLink, 'type' | 'mode'> | Pick<IpvlanLink, 'type' | 'mode'> | undefined {
  if (info.kind === 'macvlan') {
    const mode = nameOf(MACVLAN, info.mode);
    return mode && { type: 'macvlan', mode };
  }
  if (info.kind !== 'ipvlan') return undefined;
  const mode = nameOf(IPVLAN, info.mode);
  return mode && { type: 'ipvlan', mode };
}

function nameOf<T extends string>(modes: Readonly<Record<T, number>>, number: number | undefined): T | undefined {
  return (Object.keys(modes) as T[]).find((name) => modes[name] === number);
}
