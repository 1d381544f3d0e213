import { WeftError } from '../../base/errors.js';
import { RTEXT_FILTER_SKIP_STATS, RTM_GETLINK, readLink, writeLinkDump } from '../../codec/rtnl/link.js';
import type { Ns } from '../../objects/kind.js';
import { isMarked } from '../../objects/link.js';
import { interfaceOf, type Sysctl } from '../../objects/sysctl.js';
import type { Op } from '../../reconcile/plan.js';
import type { KindPort } from '../port.js';
import { foreign } from './fence.js';
import { spaceFor } from './port.js';
import type { Space, Spaces } from './spaces.js';

/** Written as 1 it makes a router of a host: routes learned from router advertisements go, and no more are learned. */
const FORWARDING = 'net/ipv6/conf/all/forwarding';

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
    if (ops.some((op) => op.want?.path === FORWARDING && op.want.value === '1')) await this.#keepAdvertised(space);
    const refused = await Promise.all(ops.map((op) => this.#refused(space, op)));
    const allowed = ops.filter((_, i) => !refused[i]);
    const pairs = allowed.map((op): [string, string] => [(op.want as Sysctl).path, (op.want as Sysctl).value]);
    const errors = this.spaces.native.sysctlWrite(space.fd, pairs);
    return ops.map((op, i) => {
      const errno = refused[i] ? undefined : errors[allowed.indexOf(op)];
      if (refused[i]) return refused[i];
      if (errno === null || errno === undefined) return undefined;
      return new WeftError('WEFT_NETLINK', `cannot set ${op.key} in ${ns}: ${errno}`, undefined, { errno });
    });
  }

  async #refused(space: Space, op: Op<Sysctl>): Promise<WeftError | undefined> {
    const dev = interfaceOf(op.key);
    return dev === undefined ? undefined : foreign(space, dev, op);
  }

  /** A node whose own way out comes from advertisements keeps it: accept_ra 2 is "although it forwards". */
  async #keepAdvertised(space: Space): Promise<void> {
    const [forwarding] = this.spaces.native.sysctlRead(space.fd, [FORWARDING]);
    // One that forwards already has not taken any, and shall not begin to.
    if (forwarding !== '0') return;
    const rows = await space.rtnl.dump(RTM_GETLINK, writeLinkDump, { extMask: RTEXT_FILTER_SKIP_STATS });
    // Behind those of ours are containers.
    const others = rows.map((row) => readLink(row.body)).filter((link) => !isMarked(link));
    const paths = others.map(({ name }) => `net/ipv6/conf/${name}/accept_ra`);
    const values = this.spaces.native.sysctlRead(space.fd, paths);
    const hosts = paths.filter((_, i) => values[i] === '1');
    this.spaces.native.sysctlWrite(
      space.fd,
      hosts.map((path) => [path, '2']),
    );
  }
}
