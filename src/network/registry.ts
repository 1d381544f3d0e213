import type { Driver } from '../model/network.js';
import type { Stored } from '../model/registry.js';
import { bridge } from './bridge/driver.js';
import type { NetworkDriver } from './driver.js';
import { host } from './host/driver.js';
import { ipvlan } from './ipvlan/driver.js';
import { macvlan } from './macvlan/driver.js';
import { none } from './none/driver.js';
import { overlay } from './overlay/driver.js';

const NETWORK_DRIVERS: Readonly<Record<Driver, NetworkDriver>> = { overlay, bridge, macvlan, ipvlan, host, none };

export function driverOf(network: Stored<'networks'>): NetworkDriver {
  return NETWORK_DRIVERS[network.spec.driver];
}
