import type { Family } from '../../src/base/ip.js';
import { appAddress, CLIENT, type MeshLab, NODES, PUBLISHED, REPLICAS, TARGET, underlay, VIP } from './mesh-lab.js';
import type { Traffic } from './traffic-port.js';

/** Who calls, what, and the address that a replica shall see. */
export interface Caller {
  name: string;
  of: Family;
  from: (lab: MeshLab) => Traffic;
  host: string;
  port: number;
  seen: string;
}

/** Everybody who may call the service in a family: by its VIP, and by the published port of every node. */
export function callersOf(of: Family): Caller[] {
  const vip = { of, host: VIP[of], port: TARGET };
  const at = (node: 1 | 2 | 3) => ({ of, host: underlay(node, of), port: PUBLISHED });
  const callers: Caller[] = [
    { ...vip, name: 'a container beside replicas', from: (lab) => lab.container(1), seen: appAddress(11, of) },
    { ...vip, name: 'a container on the node without', from: (lab) => lab.container(3), seen: appAddress(13, of) },
    { ...vip, name: 'a replica', from: (lab) => lab.replica('b1'), seen: appAddress(REPLICAS.b1.host, of) },
    ...NODES.map((i) => ({
      ...at(i),
      name: `outside through node ${i}`,
      from: (lab: MeshLab) => lab.outside,
      seen: CLIENT[of],
    })),
    { ...at(1), name: 'a node at its own address', from: (lab) => lab.onNode(1), seen: underlay(1, of) },
    { ...at(3), name: 'a node at another node', from: (lab) => lab.onNode(1), seen: underlay(1, of) },
    { ...at(1), name: 'a container at its node', from: (lab) => lab.container(1), seen: underlay(1, of) },
    { ...at(2), name: 'a replica at another node', from: (lab) => lab.replica('b1'), seen: underlay(1, of) },
  ];
  // The kernel cannot translate ::1; it is refused.
  if (of === 4) {
    const loopback = { of, host: '127.0.0.1', port: PUBLISHED };
    callers.push({ ...loopback, name: 'a node at 127.0.0.1', from: (lab) => lab.onNode(2), seen: underlay(2) });
  }
  return callers.map((caller) => ({ ...caller, name: `${caller.name}, IPv${of}` }));
}
