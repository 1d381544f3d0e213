import { WeftError } from '../../base/errors.js';
import { type Message, NLM_F_CREATE } from '../netlink.js';
import { nfBody } from '../nfnl.js';
import {
  type Change,
  dumpRequest,
  NFT_MSG_DELTABLE,
  NFT_MSG_GETTABLE,
  NFT_MSG_NEWTABLE,
  type TableRef,
} from './change.js';
import { readUserdata, UDATA_COMMENT, type Userdata, userdataBytes } from './userdata.js';

/* nft_table_attributes */
const NFTA_TABLE_NAME = 1;
const NFTA_TABLE_FLAGS = 2;
const NFTA_TABLE_HANDLE = 4;
const NFTA_TABLE_USERDATA = 6;

export interface Table extends TableRef, Userdata {
  /** enum nft_table_flags: 0, or 1 for a dormant table, whose chains are not called. */
  flags: number;
  /** Given by the kernel, unique in the namespace. */
  handle?: bigint;
}

/** Creates a table, or sets the flags of one that exists (its userdata stays). */
export function newTable(t: Table): Change {
  return {
    operation: NFT_MSG_NEWTABLE,
    flags: NLM_F_CREATE,
    family: t.family,
    label: `add table ${t.family} ${t.table}`,
    write: (a) =>
      a
        .string(NFTA_TABLE_NAME, t.table)
        .be32(NFTA_TABLE_FLAGS, t.flags)
        .bytes(NFTA_TABLE_USERDATA, userdataBytes(t, UDATA_COMMENT)),
  };
}

/**
 * Deletes a table and all in it; ENOENT fails the batch. `newTable` before it in the same batch makes absence no error, and
 * `newTable` after it replaces the table without a moment without one.
 */
export function delTable(t: TableRef): Change {
  return {
    operation: NFT_MSG_DELTABLE,
    flags: 0,
    family: t.family,
    label: `delete table ${t.family} ${t.table}`,
    write: (a) => a.string(NFTA_TABLE_NAME, t.table),
  };
}

/** Dump of the tables of a family, or of all (`unspec`). */
export function getTables(seq: number, family: TableRef['family'] = 'unspec'): Buffer {
  return dumpRequest(NFT_MSG_GETTABLE, seq, family);
}

/** Body of an NFT_MSG_NEWTABLE. @throws WEFT_INTERNAL */
export function readTable(message: Message): Table {
  const { family, attrs } = nfBody(message, 'nf_tables table');
  let table: string | undefined;
  const out: Omit<Table, keyof TableRef> = { flags: 0 };
  while (attrs.next()) {
    switch (attrs.type) {
      case NFTA_TABLE_NAME:
        table = attrs.string();
        break;
      case NFTA_TABLE_FLAGS:
        out.flags = attrs.be32();
        break;
      case NFTA_TABLE_HANDLE:
        out.handle = attrs.be64();
        break;
      case NFTA_TABLE_USERDATA:
        Object.assign(out, readUserdata(attrs.bytes(), UDATA_COMMENT));
        break;
    }
  }
  if (table === undefined) throw new WeftError('WEFT_INTERNAL', 'nf_tables table: no name');
  return { family, table, ...out };
}
