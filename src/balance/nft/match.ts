import { bitsAre, ct, is, isNot, meta, type Target, TCP_ACK, TCP_SYN, tcp } from '../../codec/nft/build.js';
import { IPPROTO } from '../backends.js';

/* What the balancer's rules ask of a packet, and where they note its backend. */

export const ofTcp = is(meta.l4proto, IPPROTO.tcp);
export const notTcp = isNot(meta.l4proto, IPPROTO.tcp);
export const ofUdp = is(meta.l4proto, IPPROTO.udp);
export const notUdp = isNot(meta.l4proto, IPPROTO.udp);
/** It begins a connection. */
export const isSyn = bitsAre(tcp.flags, TCP_SYN | TCP_ACK, TCP_SYN);

/** Where the chosen backend of a flow is noted: the packet's mark (from a dynamic map) or the connection's. */
export const memory = (tracked: boolean): Target<'mark'> => (tracked ? ct.mark : meta.mark);
