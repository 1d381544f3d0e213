import { z } from 'zod';
import { tryIpBytes } from '../base/ip.js';
import { ip, name } from './scalars.js';
import { hostPortSpec } from './service.js';

/** A line of resolv.conf is made of these; `.` alone stands for "none" there (resolv.conf(5)). */
const searchDomain = z
  .string()
  .regex(
    /^(\.|[a-zA-Z0-9_-]{1,63}(\.[a-zA-Z0-9_-]{1,63})*\.?)$/,
    'a search domain has labels of letters, digits, - and _',
  );

const domain = z
  .string()
  .regex(/^[a-zA-Z0-9_-]{1,63}(\.[a-zA-Z0-9_-]{1,63})*\.?$/, 'a domain has labels of letters, digits, - and _')
  .transform((text) => text.toLowerCase().replace(/\.$/, ''));

const nameServer = z.string().refine((text) => {
  const [address = '', port = '53', ...more] = text.split('#');
  return more.length === 0 && tryIpBytes(address) !== undefined && /^[1-9]\d{0,4}$/.test(port) && Number(port) <= 65535;
}, 'a name server is ADDRESS or ADDRESS#PORT');

/** Name servers by domain: who is asked for a name there and below. */
export const dnsSplit = z.record(domain, z.array(nameServer).min(1));

/** Body of `PUT /v1/sandboxes/NAME`. Without netns and pid weft makes a namespace of its own, pinned in its run dir. */
export const sandboxBody = z
  .strictObject({
    netns: z.string().startsWith('/').optional().describe('path of an existing network namespace'),
    pid: z.int().positive().optional().describe('process whose network namespace to use'),
    pidBegan: z
      .string()
      .optional()
      .describe('boot and tick in which that process began (filled in): another of its number is not taken for it'),
    host: z.boolean().default(false).describe('it uses the namespace of the node'),
    share: name.optional().describe('sandbox whose namespace, endpoints and resolver it uses'),
    ports: z.array(hostPortSpec).default([]).describe('ports of the node that lead to it'),
    hostname: name.optional(),
    dns: z.array(ip).default([]).describe('resolvers for names that weft does not know; the node’s when empty'),
    dnsFrom: z
      .enum(['auto', 'node', 'sandbox'])
      .default('auto')
      .describe('namespace from which its own resolvers are asked; auto: its own where they are on its networks'),
    dnsSplit: dnsSplit
      .default({})
      .describe('resolvers for names in a domain, the longest counts; over the node’s rules'),
    dnsSearch: z.array(searchDomain).default([]).describe('search domains of its resolv.conf'),
    labels: z.record(z.string(), z.string()).default({}),
  })
  .refine(
    ({ netns, pid, host, share }) => [netns, pid, host || undefined, share].filter((x) => x !== undefined).length < 2,
    {
      message: 'netns, pid, host and share exclude each other',
    },
  )
  .meta({ id: 'Sandbox' });

export type Sandbox = z.output<typeof sandboxBody>;
