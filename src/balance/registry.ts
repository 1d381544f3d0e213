import type { BalancerChoice } from '../network/world.js';
import type { Balancer } from './balancer.js';
import { ipvs } from './ipvs/balancer.js';
import { nft } from './nft/balancer.js';

/** Load balancers that exist; `--lb auto` takes the first whose needs the kernel meets. */
export const BALANCERS: Readonly<Record<BalancerChoice['name'], Balancer>> = { ipvs, nft };
