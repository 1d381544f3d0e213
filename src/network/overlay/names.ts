/** Devices of an overlay network's namespace. */
export const BRIDGE = 'br0';
/** The VXLAN device of a lane (model/lanes.ts), numbered from 0. */
export const vxlanName = (lane: number): string => `vxlan${lane}`;
