import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { codeOf } from '../../src/base/errors.js';
import { crc32 } from '../../src/state/crc32.js';
import { type Disk, Journal, type Loaded } from '../../src/state/journal.js';

function directory(t: ExecutionContext): string {
  const dir = fs.mkdtempSync(join(tmpdir(), 'weft-journal-'));
  t.teardown(() => fs.rmSync(dir, { recursive: true, force: true }));
  return dir;
}

const log = (dir: string): string => join(dir, 'state.journal');
const snapshot = (dir: string): string => join(dir, 'state.snapshot');

/** What a new agent finds. */
function reread(dir: string): Loaded {
  const journal = new Journal(dir);
  const loaded = journal.load();
  journal.close();
  return loaded;
}

function written(dir: string, records: unknown[], disk?: Disk): Journal {
  const journal = new Journal(dir, disk);
  journal.load();
  for (const record of records) journal.append(record);
  return journal;
}

/** A disk of which everything passes until step `failAt`, where it ends (a crash) or refuses. */
class StubbornDisk implements Disk {
  steps = 0;
  failAt = Number.POSITIVE_INFINITY;
  /** How many bytes still fit. */
  room = Number.POSITIVE_INFINITY;
  constructor(readonly failure = 'EIO') {}

  write(fd: number, bytes: Buffer, from: number): number {
    this.#step();
    const fits = Math.min(bytes.length - from, this.room);
    if (fits <= 0) throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    this.room -= fits;
    return fs.writeSync(fd, bytes, from, fits);
  }
  sync(fd: number): void {
    this.#step();
    fs.fsyncSync(fd);
  }
  truncate(fd: number, length: number): void {
    this.#step();
    fs.ftruncateSync(fd, length);
  }
  rename(from: string, to: string): void {
    this.#step();
    fs.renameSync(from, to);
  }
  #step(): void {
    if (this.steps++ >= this.failAt) throw Object.assign(new Error(this.failure), { code: this.failure });
  }
}

test('CRC-32 is the one of zlib', (t) => {
  t.is(crc32('123456789'), 0xcbf43926);
  t.is(crc32(''), 0);
  t.is(crc32('ü'), 0x63d969d5, 'of the UTF-8 bytes');
});

test('a first start is fresh; what was appended is there after a restart, in order', (t) => {
  const dir = directory(t);
  const journal = new Journal(dir);
  t.deepEqual(journal.load(), { records: [], fresh: true });
  for (let i = 0; i < 50; i++) journal.append({ i, text: 'zwölf\nlines "quoted"' });
  journal.close();
  const { records, fresh, damage } = reread(dir);
  t.deepEqual(
    records,
    Array.from({ length: 50 }, (_, i) => ({ i, text: 'zwölf\nlines "quoted"' })),
  );
  t.deepEqual([fresh, damage], [false, undefined]);
});

test('state is readable by its owner alone', (t) => {
  const dir = join(directory(t), 'deep', 'er');
  const journal = written(dir, [1]);
  journal.snapshot([1]);
  journal.close();
  t.is(fs.statSync(dir).mode & 0o777, 0o700);
  t.is(fs.statSync(log(dir)).mode & 0o777, 0o600);
  t.is(fs.statSync(snapshot(dir)).mode & 0o777, 0o600);
});

test('wherever the last record was torn it is dropped, without damage, and the next one stands clean', (t) => {
  const dir = directory(t);
  written(dir, ['one', 'two']).close();
  const whole = fs.readFileSync(log(dir));
  const first = whole.indexOf('\n') + 1;
  for (let cut = first; cut < whole.length; cut++) {
    fs.writeFileSync(log(dir), whole.subarray(0, cut));
    const journal = new Journal(dir);
    t.deepEqual(journal.load(), { records: ['one'], fresh: false }, `cut at ${cut}`);
    journal.append('three');
    journal.close();
    t.deepEqual(reread(dir), { records: ['one', 'three'], fresh: false }, `cut at ${cut}`);
  }
});

test('damage anywhere else is told with its place, costs no other record, and is told again', (t) => {
  const dir = directory(t);
  written(dir, ['one', 'two', 'three']).close();
  const whole = fs.readFileSync(log(dir));
  const [first, second] = [whole.indexOf('\n') + 1, whole.indexOf('\n', whole.indexOf('\n') + 1) + 1];
  // 0xff is no UTF-8: counted as text the file would have another length.
  for (const byte of [0x00, 0xff, 0x30]) {
    for (let at = first; at < second - 1; at++) {
      const broken = Buffer.from(whole);
      broken[at] = byte;
      if (broken.equals(whole)) continue;
      fs.writeFileSync(log(dir), broken);
      const expected: Loaded = {
        records: ['one', 'three'],
        fresh: false,
        damage: 'state.journal, line 2: checksum mismatch',
      };
      t.deepEqual(reread(dir), expected, `byte ${at} is ${byte}`);
      t.deepEqual(fs.readFileSync(log(dir)), broken, 'evidence is not touched');
      t.deepEqual(reread(dir), expected);
    }
  }
});

test('a last record with its newline was acknowledged: when it is broken, that is damage', (t) => {
  const dir = directory(t);
  written(dir, ['one', 'two']).close();
  const bytes = fs.readFileSync(log(dir));
  bytes[bytes.length - 3] = 0x58;
  fs.writeFileSync(log(dir), bytes);
  t.is(reread(dir).damage, 'state.journal, line 2: checksum mismatch');
});

test('a snapshot is written whole or not at all: a torn or empty one is damage', (t) => {
  const dir = directory(t);
  const journal = written(dir, []);
  journal.snapshot(['a', 'b']);
  journal.append('c');
  journal.close();
  t.deepEqual(reread(dir), { records: ['a', 'b', 'c'], fresh: false });
  const whole = fs.readFileSync(snapshot(dir));
  fs.writeFileSync(snapshot(dir), whole.subarray(0, whole.length - 2));
  t.deepEqual(reread(dir), {
    records: ['a', 'c'],
    fresh: false,
    damage: 'state.snapshot ends in the middle of a record',
  });
  fs.writeFileSync(snapshot(dir), '');
  t.deepEqual(reread(dir), { records: ['c'], fresh: false, damage: 'state.snapshot holds no record' });
});

test('a crash at any step of a snapshot leaves the old or the new state, whole', (t) => {
  for (let step = 0; ; step++) {
    const dir = directory(t);
    const disk = new StubbornDisk('CRASH');
    const journal = written(dir, ['old 1', 'old 2'], disk);
    disk.steps = 0;
    disk.failAt = step;
    let crashed = true;
    try {
      journal.snapshot(['new']);
      crashed = false;
    } catch {}
    journal.close();
    const { records, damage } = reread(dir);
    t.is(damage, undefined, `step ${step}`);
    const isOld = JSON.stringify(records) === '["old 1","old 2"]';
    // Records are idempotent: after the rename the journal may repeat what the snapshot holds.
    t.true(isOld || records[0] === 'new', `step ${step}: ${JSON.stringify(records)}`);
    if (!crashed) {
      t.true(step >= 4, 'write, sync, rename and truncate can fail');
      t.deepEqual(records, ['new']);
      return;
    }
  }
});

test('a full disk refuses the record, whole; once there is room the journal goes on where it was', (t) => {
  const dir = directory(t);
  const disk = new StubbornDisk();
  const journal = written(dir, ['one'], disk);
  for (const room of [0, 5, 12]) {
    disk.room = room;
    const error = t.throws(() => journal.append('two'));
    t.is(codeOf(error), 'WEFT_UNAVAILABLE');
    t.like(error, { hint: 'make room on that disk', details: { errno: 'ENOSPC' } });
    t.deepEqual(reread(dir), { records: ['one'], fresh: false }, 'nothing of it stays');
  }
  disk.room = Number.POSITIVE_INFINITY;
  journal.append('three');
  journal.close();
  t.deepEqual(reread(dir), { records: ['one', 'three'], fresh: false });
});

test('half a line that cannot be taken back is, before the next is appended', (t) => {
  const dir = directory(t);
  const disk = new StubbornDisk();
  const journal = written(dir, ['one'], disk);
  disk.room = 5;
  // The write of five bytes passes, the next finds the disk full; taking them back fails too.
  disk.failAt = disk.steps + 2;
  t.throws(() => journal.append('two'));
  disk.room = Number.POSITIVE_INFINITY;
  t.throws(() => journal.append('two'), undefined, 'still not taken back');
  disk.failAt = Number.POSITIVE_INFINITY;
  journal.append('three');
  journal.close();
  t.deepEqual(reread(dir), { records: ['one', 'three'], fresh: false });
});

test('a snapshot on a full disk changes nothing and leaves nothing', (t) => {
  const dir = directory(t);
  const disk = new StubbornDisk();
  const journal = written(dir, ['one', 'two'], disk);
  disk.room = 8;
  t.is(codeOf(t.throws(() => journal.snapshot(['one', 'two']))), 'WEFT_UNAVAILABLE');
  disk.room = Number.POSITIVE_INFINITY;
  journal.append('three');
  journal.close();
  t.deepEqual(fs.readdirSync(dir), ['state.journal']);
  t.deepEqual(reread(dir), { records: ['one', 'two', 'three'], fresh: false });
});

test('the size is what a restart would replay', (t) => {
  const dir = directory(t);
  const journal = written(dir, ['one', 'two']);
  t.is(journal.size, fs.statSync(log(dir)).size);
  journal.snapshot(['x']);
  t.is(journal.size, 0);
  journal.close();
  const again = new Journal(dir);
  again.load();
  again.append('y');
  t.is(again.size, fs.statSync(log(dir)).size);
  again.close();
});

test('random damage is never taken for a record and never crashes the reader', (t) => {
  const dir = directory(t);
  written(
    dir,
    Array.from({ length: 5 }, (_, i) => ({ i, pad: 'x'.repeat(i * 7) })),
  ).close();
  const whole = fs.readFileSync(log(dir));
  const originals = reread(dir).records.map((record) => JSON.stringify(record));
  const change = fc.record({ at: fc.nat(whole.length - 1), byte: fc.nat(255) });
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), fc.nat(whole.length), (changes, length) => {
      const broken = Buffer.from(whole.subarray(0, length));
      for (const { at, byte } of changes) if (at < length) broken[at] = byte;
      fs.writeFileSync(log(dir), broken);
      const { records } = reread(dir);
      for (const record of records) t.true(originals.includes(JSON.stringify(record)));
    }),
    { numRuns: 200 },
  );
});
