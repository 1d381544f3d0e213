import { WeftError } from '../base/errors.js';
import { lanesOf } from '../model/lanes.js';
import type { Network } from '../model/network.js';

/**
 * Every lane of an overlay network has its VNI: the n-th IPv4 and the n-th IPv6 subnet share the n-th.
 * @param who who would have to choose one, and why it does not
 * @throws WEFT_INVALID_ALLOCATION where one is missing, WEFT_INVALID_ARGUMENT where one is too many or stands twice
 */
export function checkVnis(id: string, spec: Network, who: string, hint: string): void {
  const lanes = lanesOf(spec);
  const given = vnisOf(spec);
  const needed = lanes.length === 1 ? 'a VNI' : `${lanes.length} VNIs, one for each subnet of a family`;
  if (spec.vni === undefined || given.length < lanes.length) {
    throw new WeftError('WEFT_INVALID_ALLOCATION', `network "${id}" needs ${needed}: ${who}`, hint);
  }
  if (given.length > lanes.length) {
    throw new WeftError(
      'WEFT_INVALID_ARGUMENT',
      `network "${id}" has ${given.length} VNIs and needs ${needed}`,
      'the n-th IPv4 and the n-th IPv6 subnet share one',
    );
  }
  const twice = given.find((vni, i) => given.indexOf(vni) !== i);
  if (twice === undefined) return;
  throw new WeftError('WEFT_INVALID_ARGUMENT', `network "${id}" has VNI ${twice} twice`, 'give each once');
}

/** All VNIs of a network, in the order of its lanes. */
export function vnisOf({ vni, vnis }: Pick<Network, 'vni' | 'vnis'>): number[] {
  return vni === undefined ? [...vnis] : [vni, ...vnis];
}
