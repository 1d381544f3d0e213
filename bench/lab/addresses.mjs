// Numbers of the lab. Every system under test has the same networks, and its own hosts on the switch.

export const APP = { name: 'app', vni: 4097, prefix: '10.20.0' };
export const INGRESS = { name: 'ingress', vni: 4096, prefix: '10.0.0' };

/** Last bytes of addresses on both networks. */
export const NUMBER = { client: 21, plain: 31, backend: 11, balancer: 250 };
export const VIP = `${APP.prefix}.200`;
/** The port a server listens on, and the one its service is published at. */
export const TARGET = 80;
export const PUBLISHED = 8080;

/** A node's own ingress address. @param {number} n 1 or 2 */
export const nodeAddress = (n) => `${INGRESS.prefix}.10${n}`;

/** Last bytes of underlay addresses. */
export const HOST = { weft: [1, 2], shell: [11, 12], snat: [21, 22], bare: [101, 102], outside: 200 };
