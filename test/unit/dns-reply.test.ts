import test from 'ava';
import { decodeMessage, encodeMessage, type Message } from '../../src/dns/codec.js';
import { FLAG, RCODE, RCODE_MASK, TYPE } from '../../src/dns/constants.js';
import { parseQuery, type Query } from '../../src/dns/query.js';
import { cutReply } from '../../src/dns/reply.js';

const MESSAGE: Message = {
  ...{ id: 7, flags: FLAG.RD, questions: [{ name: 'Example.org', type: TYPE.A, class: 1 }] },
  ...{ answers: [], authorities: [], additionals: [] },
};
const EDNS = { udpSize: 512, extendedRcode: 0, version: 0, dnssecOk: false, options: [] };
const asked = (edns: boolean): Query => parseQuery(encodeMessage({ ...MESSAGE, ...(edns && { edns: EDNS }) })) as Query;

/** An alias and `count` addresses, a name server and its address, as a name server sends them. */
function upstream(count: number, rcode = 0): Uint8Array {
  const record = (name: string, data: Message['answers'][number]['data']) => ({ name, class: 1, ttl: 60, data });
  const target = 'a.very.long.name.example.org';
  const addresses = Array.from({ length: count }, (_, i) => record(target, { type: TYPE.A, address: `192.0.2.${i}` }));
  return encodeMessage({
    ...MESSAGE,
    flags: FLAG.QR | FLAG.RD | FLAG.RA | FLAG.AD | rcode,
    answers: [record('Example.org', { type: TYPE.CNAME, target }), ...addresses],
    authorities: [record('org', { type: TYPE.NS, target: 'ns.org' })],
    additionals: [record('ns.org', { type: TYPE.A, address: '198.51.100.1' })],
    edns: EDNS,
  });
}

for (const edns of [false, true]) {
  test(`a reply that is too long is cut behind a whole record${edns ? ', and keeps OPT' : ''}`, (t) => {
    const query = asked(edns);
    const whole = decodeMessage(upstream(100));
    for (const limit of [512, 520, 777]) {
      const cut = cutReply(query, upstream(100), limit);
      t.true(cut.length <= limit && cut.length > limit - 16, `${cut.length} of ${limit}`);
      const seen = decodeMessage(cut);
      t.deepEqual(seen.answers, whole.answers.slice(0, seen.answers.length));
      t.true(seen.answers.length > 20);
      t.is(seen.flags, whole.flags | FLAG.TC);
      t.deepEqual([seen.authorities, seen.additionals], [[], []]);
      t.is(seen.edns !== undefined, edns);
    }
  });
}

test('of a reply that breaks off, what is whole stays', (t) => {
  const bytes = upstream(100);
  for (const end of [29, 30, 60, 75, 400]) {
    const seen = decodeMessage(cutReply(asked(false), bytes.subarray(0, end), 4096));
    t.true((seen.flags & FLAG.TC) !== 0);
    t.deepEqual(seen.answers, decodeMessage(bytes).answers.slice(0, seen.answers.length));
  }
  t.is(decodeMessage(cutReply(asked(false), upstream(100, RCODE.NXDOMAIN), 512)).flags & RCODE_MASK, RCODE.NXDOMAIN);
});
