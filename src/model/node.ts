import { z } from 'zod';
import { ip, labels, name } from './scalars.js';

/** Value of a row of the gossip table `nodes`; body of `PUT /v1/nodes/NAME`. */
export const nodeBody = z
  .strictObject({
    vtep: ip.describe('underlay address of its VXLAN tunnel end point'),
    alive: z.boolean().default(true).describe('false takes its backends out of balancing at once'),
    addresses: z.record(name, z.array(ip).max(2)).default({}).describe('its own address on the ingress network'),
    labels: labels.default({}),
  })
  .meta({ id: 'Node' });

export type Node = z.output<typeof nodeBody>;
