import { z } from 'zod';
import { addressOrCidr, cidr, ip, labels, vni } from './scalars.js';

/** Network drivers that exist; the registry in network/ has one folder for each. */
export const DRIVERS = ['overlay', 'bridge', 'macvlan', 'ipvlan', 'host', 'none'] as const;
export type Driver = (typeof DRIVERS)[number];

/** Networks of one node alone: no other agent has a say in them. */
export const isLocalScope = (driver: Driver): boolean => driver !== 'overlay';

/** Do its endpoints have an interface, with addresses? */
export const hasInterfaces = (driver: Driver): boolean => driver !== 'host' && driver !== 'none';

/** Body of `PUT /v1/networks/NAME`. */
export const networkBody = z
  .strictObject({
    driver: z.enum(DRIVERS).default('overlay').describe('network driver'),
    subnets: z.array(cidr).default([]).describe('IPv4 and IPv6 subnets; an overlay needs one at least'),
    ipRanges: z.array(cidr).default([]).describe('part of a subnet from which this agent allocates addresses'),
    gateways: z.array(ip).default([]).describe('gateway addresses; the first address of each subnet when not given'),
    reserved: z.array(addressOrCidr).default([]).describe('addresses and ranges that are never allocated'),
    vni: vni.optional().describe('VXLAN network identifier'),
    vnis: z
      .array(vni)
      .default([])
      .describe('identifiers of the second and later subnets of a family: the n-th IPv4 and IPv6 subnet share one'),
    mtu: z.int().min(576).max(65535).optional().describe('MTU of its endpoints; from the underlay when not given'),
    internal: z.boolean().default(false).describe('no way out through the gateway bridge'),
    encrypted: z.boolean().default(false).describe('not supported yet: refused'),
    ingress: z.boolean().default(false).describe('the network that carries published ports; one a node'),
    labels: labels.default({}),
    options: z.record(z.string(), z.string()).default({}).describe('options of the driver'),
  })
  .meta({ id: 'Network' });

/** A network as stored: gateways and VNIs are filled in. */
export type Network = z.output<typeof networkBody>;
