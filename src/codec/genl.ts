import type { Writer } from '../base/bytes.js';
import { Reader } from '../base/bytes.js';
import { WeftError } from '../base/errors.js';
import { AttrReader, AttrWriter } from './attr.js';
import { type Message, message, NLM_F_ACK, NLM_F_REQUEST } from './netlink.js';

/*
 * Generic netlink, linux/genetlink.h: after the nlmsghdr, whose type is the family's number, comes struct genlmsghdr
 * {u8 cmd, u8 version, u16 reserved}, then attributes. Numbers are given out at run time: ask GETFAMILY by name.
 */
/** Number of the family that knows the others ("nlctrl"); the only fixed one. */
export const GENL_ID_CTRL = 0x10;
const GENL_HDRLEN = 4;
const GENL_NAMSIZ = 16;

const CTRL_CMD_NEWFAMILY = 1;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_VERSION = 1;

const CTRL_ATTR_FAMILY_ID = 1;
const CTRL_ATTR_FAMILY_NAME = 2;
const CTRL_ATTR_VERSION = 3;
const CTRL_ATTR_MCAST_GROUPS = 7;
const CTRL_ATTR_MCAST_GRP_NAME = 1;
const CTRL_ATTR_MCAST_GRP_ID = 2;

/** What stands before the attributes of a request. */
export interface GenlRequest {
  /** Number of the family, from `decodeFamily`. */
  family: number;
  command: number;
  version: number;
  /** NLM_F_DUMP or 0. NLM_F_REQUEST and NLM_F_ACK are added: the ACK after a single answer says that it is whole. */
  flags: number;
  seq: number;
}

/** The part of a received message after its nlmsghdr. */
export interface GenlBody {
  command: number;
  version: number;
  /** A view, for AttrReader. */
  attributes: Uint8Array;
}

/** A family as the kernel announces it. */
export interface GenlFamily {
  id: number;
  name: string;
  version: number;
  /** Multicast group numbers by name, for NETLINK_ADD_MEMBERSHIP. */
  groups: ReadonlyMap<string, number>;
}

/** Appends one request, whose attributes `write` adds. */
export function genlRequest(w: Writer, request: GenlRequest, write: (a: AttrWriter) => void): void {
  const header = { type: request.family, flags: request.flags | NLM_F_REQUEST | NLM_F_ACK, seq: request.seq };
  message(w, header, writeBody, { request, write });
}

function writeBody(w: Writer, { request, write }: { request: GenlRequest; write: (a: AttrWriter) => void }): void {
  w.u8(request.command).u8(request.version).u16(0);
  write(new AttrWriter(w));
}

/** @throws WEFT_INTERNAL where the body is shorter than its header. */
export function genlBody(body: Uint8Array): GenlBody {
  const r = new Reader(body);
  const command = r.u8();
  const version = r.u8();
  r.skip(GENL_HDRLEN - 2);
  return { command, version, attributes: r.take(r.left) };
}

/**
 * Appends the question for a family. The kernel answers with one message for `decodeFamily`, or ENOENT where neither it nor
 * a module that it may load has the family; asking loads the module ("net-pf-16-proto-16-family-NAME").
 * @throws WEFT_INVALID_ARGUMENT for a name of more than 15 bytes.
 */
export function getFamily(w: Writer, request: { name: string; seq: number }): void {
  if (request.name === '' || Buffer.byteLength(request.name) >= GENL_NAMSIZ) {
    throw new WeftError('WEFT_INVALID_ARGUMENT', `"${request.name}" is not the name of a generic netlink family`);
  }
  const { name, seq } = request;
  const header = { family: GENL_ID_CTRL, command: CTRL_CMD_GETFAMILY, version: CTRL_VERSION, flags: 0, seq };
  genlRequest(w, header, (a) => a.string(CTRL_ATTR_FAMILY_NAME, name));
}

/** Reads the answer to `getFamily`. @throws WEFT_INTERNAL for anything else. */
export function decodeFamily(from: Message): GenlFamily {
  const { command, attributes } = genlBody(from.body);
  if (from.type !== GENL_ID_CTRL || command !== CTRL_CMD_NEWFAMILY) {
    throw new WeftError('WEFT_INTERNAL', `genl: message type ${from.type} command ${command} describes no family`);
  }
  const groups = new Map<string, number>();
  const family = { id: 0, name: '', version: 0, groups };
  const a = new AttrReader(attributes, 'genl family');
  while (a.next()) {
    switch (a.type) {
      case CTRL_ATTR_FAMILY_ID:
        family.id = a.u16();
        break;
      case CTRL_ATTR_FAMILY_NAME:
        family.name = a.string();
        break;
      case CTRL_ATTR_VERSION:
        family.version = a.u32();
        break;
      case CTRL_ATTR_MCAST_GROUPS:
        readGroups(a.nested('genl groups'), groups);
        break;
    }
  }
  if (family.id < GENL_ID_CTRL)
    throw new WeftError('WEFT_INTERNAL', `genl: family "${family.name}" came without number`);
  return family;
}

/** An array: the attribute type of each entry is its position. */
function readGroups(list: AttrReader, groups: Map<string, number>): void {
  while (list.next()) {
    let name = '';
    let id = 0;
    const a = list.nested('genl group');
    while (a.next()) {
      if (a.type === CTRL_ATTR_MCAST_GRP_NAME) name = a.string();
      else if (a.type === CTRL_ATTR_MCAST_GRP_ID) id = a.u32();
    }
    groups.set(name, id);
  }
}
