import { WeftError } from '../../base/errors.js';
import type { Ns, Where } from '../../objects/kind.js';
import type { Kernel, KindPort } from '../port.js';
import { AddressPort } from './addresses.js';
import { FdbPort } from './fdb.js';
import { IptablesPort } from './iptables-port.js';
import { IpvsTimeoutsPort, RealServerPort, VirtualServerPort } from './ipvs-port.js';
import { LinkPort } from './links.js';
import { NeighbourPort } from './neighbours.js';
import { NetnsPort } from './netns-port.js';
import { NftPort } from './nft-port.js';
import { QdiscPort } from './qdiscs.js';
import { RoutePort } from './routes.js';
import { RulePort } from './rules.js';
import type { Spaces } from './spaces.js';
import { SysctlPort } from './sysctls.js';
import { UdpFlowsPort } from './udp-flows-port.js';

/** The kernel of this machine. */
export class RealKernel implements Kernel {
  readonly #ports: ReadonlyMap<string, KindPort>;

  constructor(readonly spaces: Spaces) {
    const ports = {
      netns: new NetnsPort(spaces),
      sysctl: new SysctlPort(spaces),
      link: new LinkPort(spaces),
      qdisc: new QdiscPort(spaces),
      address: new AddressPort(spaces),
      route: new RoutePort(spaces),
      rule: new RulePort(spaces),
      neighbour: new NeighbourPort(spaces),
      fdb: new FdbPort(spaces),
      'ipvs-timeouts': new IpvsTimeoutsPort(spaces),
      'virtual-server': new VirtualServerPort(spaces),
      'real-server': new RealServerPort(spaces),
      nft: new NftPort(spaces),
      iptables: new IptablesPort(spaces),
      'udp-flows': new UdpFlowsPort(spaces),
    };
    this.#ports = new Map(Object.entries(ports) as unknown as [string, KindPort][]);
  }

  port(kind: string): KindPort {
    const port = this.#ports.get(kind);
    if (!port) throw new WeftError('WEFT_INTERNAL', `no port for kernel kind "${kind}"`);
    return port;
  }

  where(ns: Ns): Where | undefined {
    return this.spaces.where(ns);
  }

  async namespaces(): Promise<Ns[]> {
    return this.spaces.pins();
  }

  begin(): void {
    this.spaces.begin();
  }

  passed(): void {
    this.spaces.passed();
  }
}
