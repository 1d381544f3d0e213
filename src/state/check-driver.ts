import { WeftError } from '../base/errors.js';
import { family, type Ip } from '../base/ip.js';
import { hasInterfaces, isLocalScope, type Network } from '../model/network.js';
import { bridgeName, optionsOf, parentOf } from '../model/options.js';
import type { Stored } from '../model/registry.js';

/** What only networks that span nodes have. */
const SPANNING = ['vni', 'vnis', 'ingress', 'encrypted'] as const satisfies (keyof Network)[];

/** What only networks with interfaces have. */
const ADDRESSING = [
  'subnets',
  'ipRanges',
  'gateways',
  'reserved',
  'mtu',
  'internal',
] as const satisfies (keyof Network)[];

/** Is the field given, and not what it is anyway? */
const isGiven = (value: unknown): boolean =>
  Array.isArray(value) ? value.length > 0 : value !== undefined && value !== false;

/** Refuses what the driver of a network has no use for. @throws WEFT_INVALID_ARGUMENT, WEFT_INVALID_ADDRESS */
export function checkDriver(id: string, spec: Network): void {
  const { driver } = spec;
  const fields = [...(isLocalScope(driver) ? SPANNING : []), ...(hasInterfaces(driver) ? [] : ADDRESSING)];
  const useless = fields.find((field) => isGiven(spec[field]));
  if (useless !== undefined) {
    throw new WeftError(
      'WEFT_INVALID_ARGUMENT',
      `network "${id}": driver ${driver} has no ${useless}`,
      `leave out ${useless}, or choose another --driver`,
    );
  }
  const options = optionsOf(driver, spec);
  if ('egress' in options) checkEgress(id, options.egress ?? []);
}

function checkEgress(id: string, addresses: readonly Ip[]): void {
  const [first, second] = addresses;
  if (first === undefined || second === undefined || family(first) !== family(second)) return;
  throw new WeftError(
    'WEFT_INVALID_ADDRESS',
    `network "${id}": egress ${first} and ${second} are of one family`,
    'give at most one of each',
  );
}

/** Refuses what two networks of one node cannot both have. @throws WEFT_CONFLICT */
export function checkDriverAgainst(id: string, spec: Network, other: Stored<'networks'>): void {
  checkParent(id, spec, other);
  if (spec.driver !== other.spec.driver) return;
  if (spec.driver === 'host') {
    throw new WeftError(
      'WEFT_CONFLICT',
      `"${other.id}" is the host network; "${id}" would be a second`,
      'use that one',
    );
  }
  if (spec.driver === 'bridge' && bridgeName({ id, spec }) === bridgeName(other)) {
    throw new WeftError(
      'WEFT_CONFLICT',
      `bridge ${bridgeName(other)} is network "${other.id}"`,
      'choose another --opt name=BRIDGE',
    );
  }
}

const onParent = ({ driver }: Network): boolean => driver === 'macvlan' || driver === 'ipvlan';

/**
 * The kernel keeps one set of links on an interface: all macvlan, or all ipvlan of one mode, which a second mode would
 * change for all; and passthru is alone.
 */
function checkParent(id: string, spec: Network, other: Stored<'networks'>): void {
  if (!onParent(spec) || !onParent(other.spec)) return;
  const { name } = parentOf({ id, spec });
  if (parentOf(other).name !== name) return;
  const [mine, theirs] = [modeOf(spec), modeOf(other.spec)];
  const alone = [mine, theirs].includes('macvlan passthru') || mine.startsWith('ipvlan');
  if (spec.driver === other.spec.driver && (mine === theirs ? mine !== 'macvlan passthru' : !alone)) return;
  throw new WeftError(
    'WEFT_CONFLICT',
    `parent ${name} carries network "${other.id}" (${theirs}), which excludes ${mine}`,
    'choose another parent, or the same driver and mode',
  );
}

const modeOf = (spec: Network): string => `${spec.driver} ${optionsOf(spec.driver as 'macvlan' | 'ipvlan', spec).mode}`;
