import type { NetworkDriver } from '../driver.js';

/** No network: a sandbox with nothing but its loopback; see README.md beside this file. */
export const none: NetworkDriver = { network() {}, endpoint() {} };
