import { Reader, Writer } from '../../base/bytes.js';
import { WeftError } from '../../base/errors.js';
import { bytesHex, type Hex, hexBytes } from './hex.js';

/*
 * Userdata is opaque to the kernel; libnftnl (include/udata.h) fills it with u8 type, u8 length, value. `nft list` shows comments
 * and spells the keys of sets from it. NFT_USERDATA_MAXLEN of linux/netfilter/nf_tables.h bounds the whole.
 */
export const NFT_USERDATA_MAXLEN = 256;

/** Type of the comment: 0 of tables, chains, rules and elements (NFTNL_UDATA_*_COMMENT), 7 of sets (NFTNL_UDATA_SET_COMMENT). */
export const UDATA_COMMENT = 0;
export const UDATA_SET_COMMENT = 7;

export interface Userdata {
  /** Shown by nft after the object; nft itself writes up to 128 bytes. */
  comment?: string;
  /** The other fields, or everything where it is not in libnftnl's form, as bytes. */
  userdata?: Hex;
}

/** The attribute's payload, comment last, or undefined where there is nothing to say. @throws WEFT_INVALID_ARGUMENT */
export function userdataBytes({ comment, userdata }: Userdata, commentType: number): Uint8Array | undefined {
  if (comment === undefined && userdata === undefined) return undefined;
  const w = new Writer(64);
  if (userdata !== undefined) w.raw(hexBytes(userdata, NFT_USERDATA_MAXLEN));
  if (comment !== undefined) {
    const text = Buffer.from(`${comment}\0`, 'utf8');
    if (comment.includes('\0') || text.length > 255) {
      throw new WeftError('WEFT_INVALID_ARGUMENT', `a comment of nf_tables has at most 254 bytes: "${comment}"`);
    }
    w.u8(commentType).u8(text.length).raw(text);
  }
  if (w.length > NFT_USERDATA_MAXLEN) {
    throw new WeftError('WEFT_INVALID_ARGUMENT', `userdata of ${w.length} bytes, ${NFT_USERDATA_MAXLEN} are possible`);
  }
  return w.done();
}

/** The comment, and the rest. Never throws: other programs keep what they like in their objects. */
export function readUserdata(bytes: Uint8Array, commentType: number): Userdata {
  const r = new Reader(bytes);
  const rest: Uint8Array[] = [];
  let comment: string | undefined;
  while (r.left >= 2) {
    const at = r.at;
    const type = r.u8();
    const length = r.u8();
    if (length > r.left) return { userdata: bytesHex(bytes) };
    const value = r.take(length);
    if (type === commentType && comment === undefined && isText(value))
      comment = Buffer.from(value.subarray(0, -1)).toString('utf8');
    else rest.push(bytes.subarray(at, r.at));
  }
  if (r.left > 0) return { userdata: bytesHex(bytes) };
  const out: Userdata = {};
  if (comment !== undefined) out.comment = comment;
  if (rest.length > 0) out.userdata = bytesHex(Buffer.concat(rest));
  return out;
}

function isText(value: Uint8Array): boolean {
  return value.length > 0 && value.indexOf(0) === value.length - 1;
}
