import test from 'ava';
import { readProbe, writeReply, writeRequest } from '../../src/agent/underlay/probe-packet.js';

test('a request fills its IP packet, and the answer is never larger', (t) => {
  for (const [to, headers] of [
    ['192.0.2.1', 28],
    ['2001:db8::1', 48],
  ] as const) {
    const request = writeRequest(to, 1500, 0x0123456789abcdefn);
    t.is(request.length + headers, 1500);
    const read = readProbe(request);
    t.deepEqual(read, { kind: 'request', size: 1500, nonce: 0x0123456789abcdefn });
    if (!read) return;
    const reply = writeReply(read);
    t.deepEqual(readProbe(reply), { ...read, kind: 'reply' });
    t.true(reply.length <= writeRequest(to, 1200, 1n).length);
  }
});

test('what is no probe is none', (t) => {
  const request = writeRequest('192.0.2.1', 1200, 1n);
  t.is(readProbe(request.subarray(0, 15)), undefined);
  t.is(readProbe(Buffer.alloc(64)), undefined);
  request.writeUInt16BE(3, 4);
  t.is(readProbe(request), undefined);
});
