import type { Network } from '../model/network.js';
import type { NetworkDriver } from './driver.js';
import { overlay } from './overlay/driver.js';

export const NETWORK_DRIVERS: Readonly<Record<Network['driver'], NetworkDriver>> = { overlay };
