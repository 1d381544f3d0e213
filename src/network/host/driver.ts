import type { NetworkDriver } from '../driver.js';

/** The node's own network, for sandboxes in its namespace: nothing is made; see README.md beside this file. */
export const host: NetworkDriver = { network() {}, endpoint() {} };
