import {
  closeSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { WeftError } from '../base/errors.js';
import { crc32 } from './crc32.js';

/** What reading the journal found. */
export interface Loaded {
  /** Whole records, oldest first. */
  records: unknown[];
  /** Nothing was there: a first start, or somebody removed the state. */
  fresh: boolean;
  /** Something other than a torn last record was wrong; the sentence says what. */
  damage?: string;
}

/** What may fail while records are written; tests put a failing disk in its place. */
export interface Disk {
  /** @returns how many bytes were written: a disk that fills up takes a part first and refuses the rest */
  write(fd: number, bytes: Buffer, from: number): number;
  sync(fd: number): void;
  truncate(fd: number, length: number): void;
  rename(from: string, to: string): void;
}

const DISK: Disk = {
  write: (fd, bytes, from) => writeSync(fd, bytes, from),
  sync: fsyncSync,
  truncate: ftruncateSync,
  rename: renameSync,
};

const SNAPSHOT = 'state.snapshot';
const LOG = 'state.journal';
const NEWLINE = 0x0a;

/**
 * Durable records: a snapshot (written whole, fsynced, renamed into place) and a journal of what came since, one line
 * a record: CRC-32 in hex, a space, JSON. A record counts once its line and newline are on disk, which is before the
 * API answers; so what follows the last newline was never acknowledged and is dropped. Rejected: SQLite (Node 20 has
 * none, npm's needs an install script) and one file per object (no atomic batches).
 */
export class Journal {
  #fd: number | undefined;
  #bytes = 0;
  /** Half a line could not be taken back when the disk failed; the next append does it first. */
  #torn = false;

  constructor(
    readonly dir: string,
    readonly disk: Disk = DISK,
  ) {}

  load(): Loaded {
    mkdirSync(this.dir, { recursive: true, mode: 0o700 });
    const snapshot = readLines(join(this.dir, SNAPSHOT));
    const log = readLines(join(this.dir, LOG));
    const records: unknown[] = [];
    const damages: string[] = [];
    if (snapshot?.torn) damages.push(`${SNAPSHOT} ends in the middle of a record`);
    if (snapshot && snapshot.whole === 0) damages.push(`${SNAPSHOT} holds no record`);
    for (const [file, found] of Object.entries({ [SNAPSHOT]: snapshot, [LOG]: log })) {
      for (const [i, line] of (found?.lines ?? []).entries()) {
        const record = unseal(line);
        if (record === undefined) damages.push(`${file}, line ${i + 1}: checksum mismatch`);
        else records.push(record);
      }
    }
    this.#open(log?.whole ?? 0);
    const [damage] = damages;
    return { records, fresh: !snapshot && !log, ...(damage !== undefined && { damage }) };
  }

  /**
   * Appends one record and returns when it is on disk.
   * @throws WEFT_UNAVAILABLE where the disk refuses; the record is then not there
   */
  append(record: unknown): void {
    const fd = this.#opened();
    const line = seal(record);
    try {
      if (this.#torn) this.#takeBack(fd);
      this.#writeAll(fd, line);
      this.disk.sync(fd);
    } catch (error) {
      // A full disk: take the half line back, so that the next record does not grow on it.
      this.#torn = true;
      try {
        this.#takeBack(fd);
      } catch {
        // `#torn` stays: nothing is appended until it is taken back.
      }
      throw this.#refused('cannot be written', error);
    }
    this.#bytes += line.length;
  }

  /** Bytes in the journal since the last snapshot. */
  get size(): number {
    return this.#bytes;
  }

  /**
   * Replaces everything by these records. A crash at any point leaves the old or the new state, whole.
   * @throws WEFT_UNAVAILABLE where the disk refuses; the old state then stays
   */
  snapshot(records: Iterable<unknown>): void {
    const path = join(this.dir, SNAPSHOT);
    const fresh = `${path}.new`;
    try {
      const fd = openSync(fresh, 'w', 0o600);
      try {
        for (const record of records) this.#writeAll(fd, seal(record));
        this.disk.sync(fd);
      } finally {
        closeSync(fd);
      }
      this.disk.rename(fresh, path);
      syncDirectory(dirname(path));
      // From here on the journal repeats what the snapshot has; records are idempotent, so a crash before this is safe.
      this.disk.truncate(this.#opened(), 0);
    } catch (error) {
      rmSync(fresh, { force: true });
      throw this.#refused('cannot be compacted', error);
    }
    this.#bytes = 0;
    this.#torn = false;
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #opened(): number {
    if (this.#fd === undefined) throw new Error('the journal is not open');
    return this.#fd;
  }

  #writeAll(fd: number, bytes: Buffer): void {
    for (let written = 0; written < bytes.length; ) written += this.disk.write(fd, bytes, written);
  }

  #takeBack(fd: number): void {
    this.disk.truncate(fd, this.#bytes);
    this.#torn = false;
  }

  #refused(what: string, error: unknown): WeftError {
    const { code, message } = error as NodeJS.ErrnoException;
    const hint = code === 'ENOSPC' || code === 'EDQUOT' ? 'make room on that disk' : 'look at that directory';
    return new WeftError('WEFT_UNAVAILABLE', `the state in ${this.dir} ${what}: ${message}`, hint, { errno: code });
  }

  #open(whole: number): void {
    this.close();
    this.#fd = openSync(join(this.dir, LOG), 'a', 0o600);
    this.disk.truncate(this.#fd, whole);
    this.#bytes = whole;
    syncDirectory(this.dir);
  }
}

interface Lines {
  lines: string[];
  /** Bytes up to and with the last newline. */
  whole: number;
  /** Something follows the last newline. */
  torn: boolean;
}

function readLines(path: string): Lines | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  // Counted in bytes: damage need not be UTF-8, and its text would have another length.
  const whole = bytes.lastIndexOf(NEWLINE) + 1;
  const lines = bytes.toString('utf8', 0, whole).split('\n');
  lines.pop();
  return { lines, whole, torn: bytes.length > whole };
}

function seal(record: unknown): Buffer {
  const json = JSON.stringify(record);
  return Buffer.from(`${crc32(json).toString(16).padStart(8, '0')} ${json}\n`);
}

function unseal(line: string): unknown {
  const json = line.slice(9);
  if (line[8] !== ' ' || Number.parseInt(line.slice(0, 8), 16) !== crc32(json)) return undefined;
  return JSON.parse(json);
}

function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  fsyncSync(fd);
  closeSync(fd);
}
