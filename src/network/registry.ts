import type { Driver } from '../model/network.js';
import type { Stored } from '../model/registry.js';
import { bridge } from './bridge/driver.js';
import type { NetworkDriver } from './driver.js';
import { overlay } from './overlay/driver.js';

const NETWORK_DRIVERS: Readonly<Partial<Record<Driver, NetworkDriver>>> = { overlay, bridge };

/** Networks of drivers that are not there yet are refused before they get here (state/check.ts). */
export function driverOf(network: Stored<'networks'>): NetworkDriver {
  return NETWORK_DRIVERS[network.spec.driver] as NetworkDriver;
}
