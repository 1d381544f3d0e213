import { WeftError } from '../../base/errors.js';
import type { Ns } from '../../objects/kind.js';
import type { Sysctl } from '../../objects/sysctl.js';
import type { Op } from '../../reconcile/plan.js';
import type { KindPort } from '../port.js';
import { spaceFor } from './port.js';
import type { Spaces } from './spaces.js';

/** Values below /proc/sys: there is no list of ours, so only what the wish names is looked at. */
export class SysctlPort implements KindPort<Sysctl> {
  constructor(readonly spaces: Spaces) {}

  async observe(ns: Ns, want: readonly Sysctl[]): Promise<Sysctl[]> {
    const space = this.spaces.open(ns);
    if (!space || want.length === 0) return [];
    const values = this.spaces.native.sysctlRead(
      space.fd,
      want.map((o) => o.path),
    );
    return want.flatMap((o, i) => {
      const value = values[i] ?? (o.optional ? o.value : undefined);
      return value === undefined ? [] : [{ path: o.path, value: value.trim() }];
    });
  }

  async apply(ns: Ns, ops: readonly Op<Sysctl>[]): Promise<(WeftError | undefined)[]> {
    const space = spaceFor(this.spaces, ns);
    const pairs = ops.map((op): [string, string] => [(op.want as Sysctl).path, (op.want as Sysctl).value]);
    const errors = this.spaces.native.sysctlWrite(space.fd, pairs);
    return ops.map((op, i) => {
      const errno = errors[i];
      if (errno === null || errno === undefined) return undefined;
      return new WeftError('WEFT_NETLINK', `cannot set ${op.key} in ${ns}: ${errno}`, undefined, { errno });
    });
  }
}
