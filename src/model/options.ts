import { z } from 'zod';
import { shortDigest } from '../base/digest.js';
import type { Driver, Network } from './network.js';
import { ip, parseWith } from './scalars.js';

/** Options come as text (`--opt icc=false`). */
const flag = z.enum(['true', 'false']).transform((text) => text === 'true');
const on = flag.default(true);
const off = flag.default(false);
/** Interface names of linux/if.h: 15 bytes, no slash or space. */
const device = z.string().regex(/^[^/\s:]{1,15}$/, 'an interface name has 1-15 characters');

/** How a network reaches the world through the node. */
const wayOut = {
  masquerade: on.describe('outgoing packets get an address of the node'),
  egress: z
    .string()
    .transform((text) => text.split(','))
    .pipe(z.array(ip).max(2))
    .optional()
    .describe('addresses of the node, one a family, that outgoing packets get instead of the route’s'),
};

/** Options of each driver, with their defaults; anything else is refused. */
export const OPTIONS = {
  overlay: z.strictObject({
    ...wayOut,
    broadcast: off.describe('broadcast and multicast reach every node that hosts the network'),
  }),
  bridge: z.strictObject({
    ...wayOut,
    name: device.optional().describe('name of the bridge in the node'),
    icc: on.describe('its containers may speak to each other'),
  }),
  macvlan: z.strictObject({
    parent: device.optional().describe('interface of the node; NAME.VLAN makes an 802.1Q one; a dummy when not given'),
    mode: z.enum(['bridge', 'private', 'vepa', 'passthru']).default('bridge'),
  }),
  ipvlan: z.strictObject({
    parent: device.optional().describe('interface of the node; NAME.VLAN makes an 802.1Q one; a dummy when not given'),
    mode: z.enum(['l2', 'l3', 'l3s']).default('l2'),
  }),
  host: z.strictObject({}),
  none: z.strictObject({}),
} as const satisfies Record<Driver, z.ZodType>;

export type Options<D extends Driver> = z.output<(typeof OPTIONS)[D]>;

const parsedOptions = new WeakMap<object, unknown>();

/**
 * Options of a network, parsed.
 * @throws WEFT_INVALID_ARGUMENT for an unknown option or a value that cannot be used; stored networks have passed
 */
export function optionsOf<D extends Driver>(driver: D, network: Pick<Network, 'options'>): Options<D> {
  let options = parsedOptions.get(network.options) as Options<D> | undefined;
  if (!options) {
    options = parseWith(OPTIONS[driver] as z.ZodType, network.options, `options of driver ${driver}`) as Options<D>;
    parsedOptions.set(network.options, options);
  }
  return options;
}

/** The bridge of a network in the node: as its option says, else `weft-br-` and 7 hex digits of the name's SHA-256. */
export function bridgeName({ id, spec }: { id: string; spec: Pick<Network, 'options'> }): string {
  return optionsOf('bridge', spec).name ?? `weft-br-${shortDigest(id, 7)}`;
}

interface Named {
  id: string;
  spec: Pick<Network, 'driver' | 'options'>;
}

/** What links of a macvlan or ipvlan network stand on; `own`: a dummy that weft makes, for want of a parent. */
export function parentOf({ id, spec }: Named): { name: string; own: boolean } {
  const { parent } = optionsOf(spec.driver as 'macvlan' | 'ipvlan', spec);
  return parent === undefined ? { name: `weft-dm-${shortDigest(id, 7)}`, own: true } : { name: parent, own: false };
}

/** `eth0.100`: VLAN 100 on eth0. Undefined for names that are not of that form. */
export function vlanOf(parent: string): { on: string; id: number } | undefined {
  const [, on, digits] = /^(.+)\.(\d{1,4})$/.exec(parent) ?? [];
  const id = Number(digits);
  // 0 is priority tagging and 4095 is reserved (IEEE 802.1Q).
  return on !== undefined && id > 0 && id < 4095 ? { on, id } : undefined;
}
