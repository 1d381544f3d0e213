import { Reader, type Writer } from '../../base/bytes.js';
import { AttrReader, AttrWriter } from '../attr.js';
import { AF_UNSPEC } from './family.js';

/* linux/rtnetlink.h, linux/net_namespace.h. */
export const RTM_NEWNSID = 88;
export const RTM_DELNSID = 89;
export const RTM_GETNSID = 90;

/** Reported: that namespace has no id here. */
export const NETNSA_NSID_NOT_ASSIGNED = -1;

const NETNSA_NSID = 1;
const NETNSA_FD = 3;

/** The id that one network namespace (the socket's) has for another (`fd`). */
export interface Nsid {
  /** 0 and more; −1 in an RTM_NEWNSID lets the kernel choose. */
  nsid?: number;
  /** Descriptor of the other namespace, in requests. */
  fd?: number;
}

/**
 * The body of an RTM_NEWNSID (both fields; EEXIST where the namespace has an id already) or RTM_GETNSID (`fd` alone, or
 * nothing with NLM_F_DUMP).
 */
export function writeNsid(w: Writer, n: Nsid): void {
  w.u8(AF_UNSPEC).pad(3); // struct rtgenmsg, aligned
  new AttrWriter(w).u32(NETNSA_FD, n.fd).i32(NETNSA_NSID, n.nsid);
}

/** @throws WEFT_INTERNAL where the bytes are no nsid message. */
export function readNsid(body: Uint8Array): Nsid {
  const r = new Reader(body);
  r.skip(4);
  const n: Nsid = {};
  const a = new AttrReader(r.take(r.left), 'nsid');
  while (a.next()) {
    if (a.type === NETNSA_NSID) n.nsid = a.i32();
    else if (a.type === NETNSA_FD) n.fd = a.u32();
  }
  return n;
}
