import test from 'ava';
import fc from 'fast-check';
import { Frames, framed } from '../../src/dns/frames.js';
import { Lines } from '../../src/dns/lines.js';

/** The same bytes in chunks of the given sizes, the rest in one. */
function chunks(bytes: Buffer, sizes: number[]): Buffer[] {
  const out: Buffer[] = [];
  let at = 0;
  for (const size of sizes) {
    out.push(bytes.subarray(at, at + size));
    at += size;
  }
  return [...out, bytes.subarray(at)];
}

test('messages are cut the same however the stream arrives', (t) => {
  const messages = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 6 });
  fc.assert(
    fc.property(messages, fc.array(fc.nat(100)), (sent, sizes) => {
      const frames = new Frames();
      const got = chunks(Buffer.concat(sent.map(framed)), sizes).flatMap((chunk) => frames.push(chunk));
      t.deepEqual(
        got.map((m) => [...m]),
        sent.map((m) => [...m]),
      );
    }),
  );
});

test('messages that somebody else deals with are left out, and the others cut as ever', (t) => {
  const messages = fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 12 });
  fc.assert(
    fc.property(messages, fc.array(fc.nat(60)), (sent, sizes) => {
      const frames = new Frames();
      const dealtWith: number[][] = [];
      const isEven = (message: Uint8Array) => message.length % 2 === 0;
      // Takes as many as it can, as long as they have an even number of bytes.
      const take = (rest: Buffer) => {
        let at = 0;
        for (;;) {
          const message = new Frames().push(rest.subarray(at))[0];
          if (!message || !isEven(message)) return at;
          dealtWith.push([...message]);
          at += 2 + message.length;
        }
      };
      const got = chunks(Buffer.concat(sent.map(framed)), sizes).flatMap((chunk) => frames.push(chunk, take));
      t.deepEqual(
        got.map((m) => [...m]),
        sent.filter((m) => !isEven(m)).map((m) => [...m]),
      );
      t.deepEqual(
        dealtWith,
        sent.filter(isEven).map((m) => [...m]),
      );
    }),
  );
});

test('lines are cut the same however the stream arrives, characters of several bytes whole', (t) => {
  const lines = fc.array(fc.string({ unit: 'grapheme', maxLength: 20 }).map((line) => line.replaceAll('\n', '')));
  fc.assert(
    fc.property(lines, fc.array(fc.nat(9)), (sent, sizes) => {
      const cut = new Lines();
      const got = chunks(Buffer.from(sent.map((line) => `${line}\n`).join('')), sizes).flatMap((chunk) =>
        cut.push(chunk),
      );
      t.deepEqual(got, sent);
    }),
  );
});
