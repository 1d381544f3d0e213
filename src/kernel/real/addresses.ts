import type { WeftError } from '../../base/errors.js';
import { NLM_F_CREATE, NLM_F_REPLACE } from '../../codec/netlink.js';
import {
  type Address as AddressMessage,
  IFA_F_NODAD,
  ownAddress,
  RTM_DELADDR,
  RTM_GETADDR,
  RTM_NEWADDR,
  readAddress,
  writeAddress,
  writeAddressDump,
} from '../../codec/rtnl/address.js';
import { AF_INET6, addressFamily } from '../../codec/rtnl/family.js';
import { type Address, WEFT_PROTOCOL } from '../../objects/address.js';
import type { Ns } from '../../objects/kind.js';
import type { Op } from '../../reconcile/plan.js';
import type { KindPort } from '../port.js';
import { foreign } from './fence.js';
import { oneByOne, outcome, requireIndex, spaceFor } from './port.js';
import type { Spaces } from './spaces.js';

export class AddressPort implements KindPort<Address> {
  constructor(readonly spaces: Spaces) {}

  async observe(ns: Ns): Promise<Address[]> {
    const space = this.spaces.open(ns);
    if (!space) return [];
    const names = await space.namesByIndex();
    const out: Address[] = [];
    for (const row of await space.rtnl.dump(RTM_GETADDR, writeAddressDump, {})) {
      const m = readAddress(row.body);
      const ip = ownAddress(m);
      const dev = names.get(m.index);
      if (ip !== undefined && dev !== undefined)
        out.push({ dev, ip, length: m.prefixLength, protocol: m.protocol ?? 0 });
    }
    return out;
  }

  async apply(ns: Ns, ops: readonly Op<Address>[]): Promise<(WeftError | undefined)[]> {
    const space = spaceFor(this.spaces, ns);
    const indexes = await space.indexes();
    return oneByOne(ops, async (op) => {
      const refused = op.want && (await foreign(space, op.want.dev, op));
      if (refused) return refused;
      // The prefix length is part of the kernel's key: another length is another address.
      if (op.have && op.verb !== 'add') {
        const gone = await space.rtnl.request(RTM_DELADDR, 0, writeAddress, encoded(op.have, indexes, op));
        if (op.verb === 'remove') return outcome(op, gone);
      }
      const flags = NLM_F_CREATE | NLM_F_REPLACE;
      return outcome(
        op,
        await space.rtnl.request(RTM_NEWADDR, flags, writeAddress, encoded(op.want as Address, indexes, op)),
      );
    });
  }
}

function encoded(o: Address, indexes: ReadonlyMap<string, number>, op: Op): AddressMessage {
  const af = addressFamily(o.ip);
  return {
    family: af,
    prefixLength: o.length,
    scope: 0,
    index: requireIndex(indexes, o.dev, op),
    // Uniqueness is the agent's to guarantee; DAD against remote endpoints finds nothing anyway.
    flags: af === AF_INET6 ? IFA_F_NODAD : 0,
    local: o.ip,
    address: o.ip,
    protocol: WEFT_PROTOCOL,
  };
}
