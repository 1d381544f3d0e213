import { isLocalPort, listeners } from '../kernel/real/listeners.js';
import { keptPorts, releasePort, reservePort } from '../kernel/real/reserve.js';
import { takes } from '../model/published.js';
import type { NodeSockets } from './reservations.js';

/** The sockets of the network namespace that the agent runs in. */
export const HOST_SOCKETS: NodeSockets = {
  reserve: reservePort,
  release: releasePort,
  holders: (spans) => listeners((socket) => spans.some((span) => takes(socket, span))),
  isLocalPort,
  kept: keptPorts,
};
