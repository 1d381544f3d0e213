import { WeftError } from '../base/errors.js';
import type { Ip } from '../base/ip.js';
import { ownAddress, RTM_GETADDR, readAddress, writeAddressDump } from '../codec/rtnl/address.js';
import { RTEXT_FILTER_SKIP_STATS, RTM_GETLINK, readLink, writeLinkDump } from '../codec/rtnl/link.js';
import type { Spaces } from '../kernel/real/spaces.js';
import { NODE_NS } from '../objects/kind.js';

/** MTU of the interface that has the advertised address. @throws WEFT_INVALID_ADDRESS where none has it */
export async function underlayMtu(spaces: Spaces, advertise: Ip): Promise<number> {
  const rtnl = spaces.open(NODE_NS)?.rtnl;
  if (!rtnl) throw new WeftError('WEFT_INTERNAL', 'the agent has no namespace of its own');
  const addresses = (await rtnl.dump(RTM_GETADDR, writeAddressDump, {})).map((row) => readAddress(row.body));
  const index = addresses.find((a) => ownAddress(a) === advertise)?.index;
  const links = (await rtnl.dump(RTM_GETLINK, writeLinkDump, { extMask: RTEXT_FILTER_SKIP_STATS })).map((row) =>
    readLink(row.body),
  );
  const mtu = links.find((link) => link.index === index)?.mtu;
  if (index === undefined || mtu === undefined) {
    throw new WeftError(
      'WEFT_INVALID_ADDRESS',
      `no interface of this node has the advertised address ${advertise}`,
      'give --advertise an address that `ip addr` shows',
    );
  }
  return mtu;
}
