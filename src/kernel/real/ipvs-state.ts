import { decodeDest, decodeService, dumpDests, dumpServices } from '../../codec/ipvs/commands.js';
import type { RealServerState } from '../../codec/ipvs/dest.js';
import type { VirtualServerState } from '../../codec/ipvs/service.js';
import type { Ns } from '../../objects/kind.js';
import { Ipvs } from './ipvs-port.js';
import type { Spaces } from './spaces.js';

/** A virtual server as the kernel has it, whoever made it, with its real servers and their connections. */
export interface VirtualServerView extends VirtualServerState {
  servers: RealServerState[];
}

/** All of IPVS in a namespace; nothing where the namespace or IPVS is not there. @throws WEFT_NETLINK */
export async function ipvsState(spaces: Spaces, ns: Ns): Promise<VirtualServerView[]> {
  const ipvs = await new Ipvs(spaces).open(ns);
  if (!ipvs) return [];
  const { socket, family } = ipvs;
  const services = (await socket.exchange((w, seq) => dumpServices(w, { family, seq }))).map(decodeService);
  const out: VirtualServerView[] = [];
  for (const service of services) {
    const rows = await socket.exchange((w, seq) => dumpDests(w, { family, seq }, service.key), true);
    out.push({ ...service, servers: rows.map((row) => decodeDest(row, service.key.family)) });
  }
  return out;
}
