/** Devices of an overlay network's namespace. */
export const BRIDGE = 'br0';
export const VXLAN = 'vxlan0';
