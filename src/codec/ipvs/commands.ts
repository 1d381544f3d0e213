import type { Writer } from '../../base/bytes.js';
import { WeftError } from '../../base/errors.js';
import type { Family } from '../../base/ip.js';
import { AttrReader, type AttrWriter } from '../attr.js';
import { type GenlBody, genlBody, genlRequest } from '../genl.js';
import { type Message, NLM_F_DUMP } from '../netlink.js';
import { type DestKey, type RealServer, type RealServerState, readDest, writeDest, writeDestKey } from './dest.js';
import {
  readService,
  type ServiceKey,
  type VirtualServer,
  type VirtualServerState,
  writeService,
  writeServiceKey,
} from './service.js';

/*
 * IPVS over generic netlink, linux/ip_vs.h. Each request below appends one message to a Writer, and every one is
 * acknowledged, so that many may be sent as one batch and told apart by sequence number. All need CAP_NET_ADMIN in the user
 * namespace that owns the network namespace, and concern the namespace in which the socket was opened.
 *
 * Refusals as seen on 6.1: EEXIST for a NEW of what is there; ESRCH for a service that is not there (SET, DEL and all
 * commands on its real servers), ENOENT for a real server that is not there; ENOENT also for a scheduler that neither is
 * loaded nor can be. No extended-ACK text.
 *
 * IPVS_CMD_FLUSH and _ZERO are left out on purpose: they reach objects that are not ours.
 */
export const IPVS_GENL_NAME = 'IPVS';
const IPVS_GENL_VERSION = 1;

const IPVS_CMD_NEW_SERVICE = 1;
const IPVS_CMD_SET_SERVICE = 2;
const IPVS_CMD_DEL_SERVICE = 3;
const IPVS_CMD_GET_SERVICE = 4;
const IPVS_CMD_NEW_DEST = 5;
const IPVS_CMD_SET_DEST = 6;
const IPVS_CMD_DEL_DEST = 7;
const IPVS_CMD_GET_DEST = 8;
const IPVS_CMD_SET_CONFIG = 12;
const IPVS_CMD_GET_CONFIG = 13;
const IPVS_CMD_SET_INFO = 14;
const IPVS_CMD_GET_INFO = 15;

const IPVS_CMD_ATTR_SERVICE = 1;
const IPVS_CMD_ATTR_DEST = 2;
const IPVS_CMD_ATTR_TIMEOUT_TCP = 4;
const IPVS_CMD_ATTR_TIMEOUT_TCP_FIN = 5;
const IPVS_CMD_ATTR_TIMEOUT_UDP = 6;

const IPVS_INFO_ATTR_VERSION = 1;
const IPVS_INFO_ATTR_CONN_TAB_SIZE = 2;

/** Where a request goes. */
export interface IpvsTarget {
  /** Number of the family named IPVS_GENL_NAME. */
  family: number;
  seq: number;
}

/** Seconds without a packet after which IPVS forgets a connection; one set per network namespace. */
export interface IpvsTimeouts {
  tcp: number;
  tcpFin: number;
  udp: number;
}

/** What the kernel module says of itself. */
export interface IpvsInfo {
  /** `1.2.1` */
  version: string;
  /** Buckets of the connection table. */
  tableSize: number;
}

export function newService(w: Writer, to: IpvsTarget, service: VirtualServer): void {
  request(w, to, IPVS_CMD_NEW_SERVICE, (a) => whole(a, service));
}

/** Replaces everything but the key; real servers and connections stay. */
export function setService(w: Writer, to: IpvsTarget, service: VirtualServer): void {
  request(w, to, IPVS_CMD_SET_SERVICE, (a) => whole(a, service));
}

/** Its real servers go with it. */
export function deleteService(w: Writer, to: IpvsTarget, key: ServiceKey): void {
  request(w, to, IPVS_CMD_DEL_SERVICE, (a) => named(a, key));
}

/** One service; the answer is for `decodeService`. */
export function getService(w: Writer, to: IpvsTarget, key: ServiceKey): void {
  request(w, to, IPVS_CMD_GET_SERVICE, (a) => named(a, key));
}

/** All services of the namespace, both address families. */
export function dumpServices(w: Writer, to: IpvsTarget): void {
  request(w, to, IPVS_CMD_GET_SERVICE, undefined, NLM_F_DUMP);
}

export function newDest(w: Writer, to: IpvsTarget, key: ServiceKey, dest: RealServer): void {
  request(w, to, IPVS_CMD_NEW_DEST, (a) => named(a, key).nest(IPVS_CMD_ATTR_DEST, (n) => writeDest(n, dest)));
}

export function setDest(w: Writer, to: IpvsTarget, key: ServiceKey, dest: RealServer): void {
  request(w, to, IPVS_CMD_SET_DEST, (a) => named(a, key).nest(IPVS_CMD_ATTR_DEST, (n) => writeDest(n, dest)));
}

export function deleteDest(w: Writer, to: IpvsTarget, key: ServiceKey, dest: DestKey): void {
  request(w, to, IPVS_CMD_DEL_DEST, (a) => named(a, key).nest(IPVS_CMD_ATTR_DEST, (n) => writeDestKey(n, dest)));
}

/**
 * The real servers of one service, for `decodeDest`. The kernel answers an unknown service with an empty dump and no
 * error: absence must be seen from the services.
 */
export function dumpDests(w: Writer, to: IpvsTarget, key: ServiceKey): void {
  request(w, to, IPVS_CMD_GET_DEST, (a) => named(a, key), NLM_F_DUMP);
}

export function getConfig(w: Writer, to: IpvsTarget): void {
  request(w, to, IPVS_CMD_GET_CONFIG);
}

/**
 * Timeouts that are left out stay. 0 means the same to the kernel and is therefore refused here: it would be
 * acknowledged and change nothing. Refused by the kernel (EINVAL) above 2^31 / HZ.
 * @throws WEFT_INVALID_ARGUMENT
 */
export function setConfig(w: Writer, to: IpvsTarget, timeouts: Partial<IpvsTimeouts>): void {
  const { tcp, tcpFin, udp } = timeouts;
  if (tcp === 0 || tcpFin === 0 || udp === 0) {
    throw new WeftError('WEFT_INVALID_ARGUMENT', 'an IPVS timeout of 0 seconds', 'leave a timeout out to keep it');
  }
  request(w, to, IPVS_CMD_SET_CONFIG, (a) => {
    a.u32(IPVS_CMD_ATTR_TIMEOUT_TCP, tcp)
      .u32(IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, tcpFin)
      .u32(IPVS_CMD_ATTR_TIMEOUT_UDP, udp);
  });
}

export function getInfo(w: Writer, to: IpvsTarget): void {
  request(w, to, IPVS_CMD_GET_INFO);
}

/** One message of an answer to `getService` or `dumpServices`. @throws WEFT_INTERNAL */
export function decodeService(from: Message): VirtualServerState {
  const a = new AttrReader(expect(from, IPVS_CMD_NEW_SERVICE).attributes, 'ipvs');
  while (a.next()) if (a.type === IPVS_CMD_ATTR_SERVICE) return readService(a.bytes());
  throw new WeftError('WEFT_INTERNAL', 'ipvs: an answer without service');
}

/** One message of an answer to `dumpDests`; `of` is the family of the service asked for. @throws WEFT_INTERNAL */
export function decodeDest(from: Message, of: Family): RealServerState {
  const a = new AttrReader(expect(from, IPVS_CMD_NEW_DEST).attributes, 'ipvs');
  while (a.next()) if (a.type === IPVS_CMD_ATTR_DEST) return readDest(a.bytes(), of);
  throw new WeftError('WEFT_INTERNAL', 'ipvs: an answer without destination');
}

/** The answer to `getConfig`. @throws WEFT_INTERNAL */
export function decodeConfig(from: Message): IpvsTimeouts {
  const a = new AttrReader(expect(from, IPVS_CMD_SET_CONFIG).attributes, 'ipvs config');
  const out = { tcp: 0, tcpFin: 0, udp: 0 };
  while (a.next()) {
    switch (a.type) {
      case IPVS_CMD_ATTR_TIMEOUT_TCP:
        out.tcp = a.u32();
        break;
      case IPVS_CMD_ATTR_TIMEOUT_TCP_FIN:
        out.tcpFin = a.u32();
        break;
      case IPVS_CMD_ATTR_TIMEOUT_UDP:
        out.udp = a.u32();
        break;
    }
  }
  return out;
}

/** The answer to `getInfo`. @throws WEFT_INTERNAL */
export function decodeInfo(from: Message): IpvsInfo {
  const a = new AttrReader(expect(from, IPVS_CMD_SET_INFO).attributes, 'ipvs info');
  let version = 0;
  let tableSize = 0;
  while (a.next()) {
    if (a.type === IPVS_INFO_ATTR_VERSION) version = a.u32();
    else if (a.type === IPVS_INFO_ATTR_CONN_TAB_SIZE) tableSize = a.u32();
  }
  // IP_VS_VERSION_CODE: a byte each for major, minor and patch.
  return { version: `${(version >> 16) & 0xff}.${(version >> 8) & 0xff}.${version & 0xff}`, tableSize };
}

function request(
  w: Writer,
  to: IpvsTarget,
  command: number,
  write: (a: AttrWriter) => void = () => {},
  flags = 0,
): void {
  genlRequest(w, { family: to.family, command, version: IPVS_GENL_VERSION, flags, seq: to.seq }, write);
}

function whole(a: AttrWriter, service: VirtualServer): AttrWriter {
  return a.nest(IPVS_CMD_ATTR_SERVICE, (n) => writeService(n, service));
}

function named(a: AttrWriter, key: ServiceKey): AttrWriter {
  return a.nest(IPVS_CMD_ATTR_SERVICE, (n) => writeServiceKey(n, key));
}

/** The kernel answers with the command that would make what it describes. */
function expect(from: Message, command: number): GenlBody {
  const body = genlBody(from.body);
  if (body.command !== command) {
    throw new WeftError('WEFT_INTERNAL', `ipvs: an answer with command ${body.command}, ${command} expected`);
  }
  return body;
}
