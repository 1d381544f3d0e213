import { z } from 'zod';
import { healthSpec } from './health.js';
import { cidr, ip, labels, name, port, proto } from './scalars.js';

export const SCHEDULERS = ['rr', 'wrr', 'lc', 'wlc', 'sh', 'mh'] as const;
export type Scheduler = (typeof SCHEDULERS)[number];

/** One published port, or a range that maps 1:1. */
export const publishSpec = z
  .strictObject({
    published: z.int().min(0).max(65535).default(0).describe('0: a free one from 32768 up, kept (mode=host)'),
    publishedEnd: port.optional().describe('last port of a range'),
    target: port.describe('port in the task; the first of a range'),
    proto: proto.default('tcp'),
    mode: z.enum(['ingress', 'host']).default('ingress'),
    hostIp: ip.optional().describe('only this address of the node answers; `0.0.0.0` and `::` are all of a family'),
    allow: z.array(cidr).default([]).describe('sources that may connect, all when empty; what others send is dropped'),
    policy: z
      .enum(['cluster', 'local'])
      .default('cluster')
      .describe('`local`: a node sends callers to its own tasks only, and refuses without one (mode=host always does)'),
  })
  .meta({ id: 'PublishedPort' });

/** A port of the node that leads to one sandbox. */
export const hostPortSpec = publishSpec
  .omit({ policy: true })
  .extend({ mode: z.literal('host').default('host') })
  .meta({ id: 'HostPort' });

/** Body of `PUT /v1/sandboxes/NAME/ports/PROTO/PUBLISHED`. */
export const sandboxPortBody = hostPortSpec
  .omit({ published: true, proto: true, mode: true })
  .meta({ id: 'SandboxPort' });

/** RFC 6335 section 5.1: one letter at least, so that no name is a number. */
const portName = z
  .string()
  .regex(/^(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*$/, 'the name of a port has lower-case letters, digits and single hyphens')
  .max(15);

/** A port of a VIP that leads to another port of the task. */
export const vipPortSpec = z
  .strictObject({
    port: port.describe('port of the VIP'),
    target: port.describe('port in the task'),
    proto: proto.default('tcp'),
    name: portName.optional().describe('SRV lists it as `_NAME._PROTO.SERVICE` besides `_PORT._PROTO.SERVICE`'),
  })
  .meta({ id: 'VipPort' });

/** Seconds; what ipvsadm allows for persistence. */
const MONTH = 31 * 24 * 3600;

/** Body of `PUT /v1/services/NAME`. */
export const serviceBody = z
  .strictObject({
    networks: z.array(name).min(1),
    mode: z.enum(['vip', 'dnsrr']).default('vip'),
    vips: z.record(name, z.array(ip).max(2)).default({}).describe('VIPs by network; allocated where the agent may'),
    aliases: z.array(name).default([]),
    ports: z
      .array(vipPortSpec)
      .default([])
      .describe('ports of the VIP that are translated; every other leads to the same port of the task'),
    publish: z.array(publishSpec).default([]),
    scheduler: z.enum(SCHEDULERS).default('rr'),
    affinity: z
      .int()
      .min(0)
      .max(MONTH)
      .default(0)
      .describe('seconds a client stays with its backend after its last connection; 0 = off'),
    preferLocal: z.boolean().default(false).describe('backends of other nodes only while none of this node is active'),
    clientIp: z
      .enum(['preserve', 'snat'])
      .default('preserve')
      .describe('`snat`: backends see the node (published ports) or the gateway of the network (VIP) instead'),
    drain: z
      .int()
      .min(0)
      .default(30)
      .describe(
        'seconds that connections may take to end when backends are drained; `state: draining` waits without end',
      ),
    udpDrain: z
      .enum(['move', 'keep'])
      .default('move')
      .describe('a UDP flow has no end: with its next packet it leaves a backend that drains, or it stays'),
    health: healthSpec.optional().describe('each node probes the backends that it hosts, and takes out what fails'),
    labels: labels.default({}),
  })
  .meta({ id: 'Service' });

export type PublishedPort = z.output<typeof publishSpec>;
export type HostPort = z.output<typeof hostPortSpec>;
export type AnyPort = PublishedPort | HostPort;
export type Service = z.output<typeof serviceBody>;
