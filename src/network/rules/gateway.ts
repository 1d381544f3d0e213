import { GATEWAY_BRIDGE, gatewayFamilies } from '../gateway.js';
import type { Feature } from './node.js';

/** Containers out by the gateway bridge, and never to each other through it. */
export const gatewayRules: Feature = (world, of, book) => {
  const subnet = world.gateway[of]?.subnet;
  if (subnet === undefined || !gatewayFamilies(world).includes(of)) return;
  book.outgoing(of, [`-s ${subnet} ! -o ${GATEWAY_BRIDGE} -j MASQUERADE`]);
  book.forward(of, [
    `-o ${GATEWAY_BRIDGE} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
    `-o ${GATEWAY_BRIDGE} -j DROP`,
  ]);
  book.leave(of, [`-i ${GATEWAY_BRIDGE} -j ACCEPT`]);
};
