import { z } from 'zod';
import { backendState } from './endpoint.js';
import { ip, mac, name } from './scalars.js';
import { serving } from './serving.js';

/** Value of a row of the gossip table `peers`; body of `PUT /v1/peers/KEY`: an endpoint on another node. */
export const peerBody = z
  .strictObject({
    network: name,
    address: ip,
    addressV6: ip.optional(),
    mac: mac.optional().describe('derived from the address when not given'),
    vtep: ip,
    service: serving.optional(),
    state: backendState.default('active'),
    weight: z.int().min(0).max(65535).default(1),
    aliases: z.array(name).default([]),
    sandbox: name.optional(),
  })
  .meta({ id: 'Peer' });

export type Peer = Omit<z.output<typeof peerBody>, 'mac'> & { mac: string };
