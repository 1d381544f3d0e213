import test from 'ava';
import { Chain } from '../../src/dns/chain.js';
import { decodeMessage, encodeMessage, type Message } from '../../src/dns/codec.js';
import { FLAG, RCODE, RCODE_MASK, TYPE } from '../../src/dns/constants.js';
import type { ResourceRecord } from '../../src/dns/record.js';
import { parseView, type ViewJson } from '../../src/dns/view-json.js';
import { NOBODY } from '../support/name-servers.js';

const VIEW: ViewJson = {
  ...{ revision: 1, ttl: 7, upstreams: [] },
  sandboxes: {
    c: { netns: '/c', networks: ['Front', 'back'] },
    d: { netns: '/d', networks: ['back'] },
  },
  networks: {
    Front: {
      internal: false,
      names: {
        web: { a: ['10.0.1.200'], txt: ['rack=1', `note=${'x'.repeat(300)}`] },
        'tasks.web': {
          served: [
            {
              backends: [
                { a: '10.0.1.11', aaaa: 'fd00::11' },
                { a: '10.0.1.12', weight: 5, priority: 1 },
                { aaaa: 'fd00::13' },
              ],
              ports: [
                { proto: 'tcp', from: 80, to: 80, target: 8080, name: 'http' },
                { proto: 'udp', from: 5000, to: 5009, target: 6000 },
              ],
            },
          ],
        },
        many: {},
        'tasks.many': { served: [{ backends: Array.from({ length: 70 }, (_, i) => ({ a: `10.0.2.${i}` })) }] },
        empty: {},
        'tasks.empty': { served: [{ backends: [] }] },
        'tasks.alias': { a: ['10.0.1.77'] },
      },
      ptr: {},
    },
    back: {
      internal: false,
      names: {
        web: { a: ['10.0.9.200'] },
        'tasks.web': {
          served: [{ backends: [{ a: '10.0.9.11' }], ports: [{ proto: 'tcp', from: 80, to: 80, target: 81 }] }],
        },
      },
      ptr: {},
    },
  },
};

const chain = new Chain(NOBODY);
chain.view = parseView(VIEW);

function ask(name: string, type: number, { edns, sandbox = 'c' }: { edns?: number; sandbox?: string } = {}): Message {
  const bytes = encodeMessage({
    ...{ id: 7, flags: FLAG.RD, questions: [{ name, type, class: 1 }], answers: [], authorities: [], additionals: [] },
    ...(edns !== undefined && { edns: { udpSize: edns, extendedRcode: 0, version: 0, dnssecOk: false, options: [] } }),
  });
  const reply = chain.respond(sandbox, bytes, 'udp') as Uint8Array;
  if (edns === undefined || edns < 512) assertShort(reply);
  return decodeMessage(reply);
}

function assertShort(reply: Uint8Array): void {
  if (reply.length > 512) throw new Error(`${reply.length} bytes for a client that takes 512`);
}

const rcode = ({ flags }: Message): number => flags & RCODE_MASK;
const text = ({ data }: ResourceRecord): string => {
  if (data.type === TYPE.SRV) return `${data.priority} ${data.weight} ${data.port} ${data.target}`;
  return 'address' in data ? data.address : '?';
};
const answersOf = (reply: Message): string[] => reply.answers.map(text);

test('SRV lists a record for each backend, and what their targets resolve to', (t) => {
  const reply = ask('_HTTP._tcp.Web.front', TYPE.SRV);
  t.is(reply.flags, FLAG.QR | FLAG.AA | FLAG.RD | FLAG.RA);
  t.is(reply.questions[0]?.name, '_HTTP._tcp.Web.front');
  t.true([...reply.answers, ...reply.additionals].every(({ ttl }) => ttl === 7));
  t.true(reply.answers.every(({ name }) => name === '_HTTP._tcp.Web.front'));
  const third = `${'fd00'}${'0'.repeat(26)}13`;
  t.deepEqual(answersOf(reply), [
    '0 1 8080 10-0-1-11.tasks.web.front',
    '1 5 8080 10-0-1-12.tasks.web.front',
    `0 1 8080 ${third}.tasks.web.front`,
  ]);
  const glue = reply.additionals.map((record) => `${record.name} ${text(record)}`);
  t.deepEqual(glue, [
    '10-0-1-11.tasks.web.front 10.0.1.11',
    '10-0-1-11.tasks.web.front fd00::11',
    '10-0-1-12.tasks.web.front 10.0.1.12',
    `${third}.tasks.web.front fd00::13`,
  ]);
});

test('targets resolve, to the backend alone', (t) => {
  t.deepEqual(answersOf(ask('10-0-1-11.tasks.web.Front', TYPE.A)), ['10.0.1.11']);
  t.deepEqual(answersOf(ask('10-0-1-11.tasks.web', TYPE.AAAA)), ['fd00::11']);
  t.deepEqual(answersOf(ask(`fd00${'0'.repeat(26)}13.tasks.web`, TYPE.AAAA)), ['fd00::13']);
  const lacking = ask('10-0-1-12.tasks.web.front', TYPE.AAAA);
  t.deepEqual([rcode(lacking), lacking.answers.length], [RCODE.NOERROR, 0]);
  t.is(rcode(ask('10-0-1-99.tasks.web.front', TYPE.A)), RCODE.NXDOMAIN);
  t.is(rcode(ask('10-0-1-11.tasks.web.back', TYPE.A)), RCODE.NXDOMAIN);
});

test('a sandbox on several networks is told of the backends on each, by the ports of each', (t) => {
  const targets = answersOf(ask('_80._tcp.web', TYPE.SRV, { edns: 1232 }));
  t.deepEqual(
    targets.filter((target) => target.includes('.back')),
    ['0 1 81 10-0-9-11.tasks.web.back'],
  );
  t.is(targets.length, 4);
  t.deepEqual(answersOf(ask('_80._tcp.web', TYPE.SRV, { sandbox: 'd' })), ['0 1 81 10-0-9-11.tasks.web.back']);
});

for (const [name, port] of [
  ['_5003._udp.web.front', 6003],
  ['_5003._tcp.web.front', 5003],
  ['_65535._sctp.tasks.web.front', 65535],
  ['_http._udp.web.front', undefined],
  ['_https._tcp.web.front', undefined],
  ['_0._tcp.web.front', undefined],
  ['_080._tcp.web.front', undefined],
  ['_65536._tcp.web.front', undefined],
  ['_80._icmp.web.front', undefined],
] as const) {
  test(`${name} leads to ${port ?? 'nothing'}`, (t) => {
    const reply = ask(name, TYPE.SRV, { edns: 1232 });
    const ports = new Set(reply.answers.map(({ data }) => (data.type === TYPE.SRV ? data.port : 0)));
    t.deepEqual([...ports], port === undefined ? [] : [port]);
    t.is(rcode(reply), port === undefined ? RCODE.NXDOMAIN : RCODE.NOERROR);
  });
}

test('a service without backends has its names all the same', (t) => {
  for (const [name, type] of [
    ['_80._tcp.empty', TYPE.SRV],
    ['_80._tcp.web', TYPE.A],
    ['_tcp.web', TYPE.SRV],
    ['empty', TYPE.SRV],
  ] as const) {
    const reply = ask(name, type);
    t.deepEqual([rcode(reply), reply.answers], [RCODE.NOERROR, []], name);
    t.is(reply.authorities[0]?.data.type, TYPE.SOA);
  }
  t.is(rcode(ask('_80._tcp.alias', TYPE.SRV)), RCODE.NXDOMAIN, 'which is no service');
  t.is(rcode(ask('_80._tcp.none.front', TYPE.SRV)), RCODE.NXDOMAIN);
});

test('a list that is too long is cut behind a whole record', (t) => {
  const whole = ask('_80._tcp.many', TYPE.SRV, { edns: 4096 });
  t.is(whole.answers.length, 70);
  t.is(whole.flags & FLAG.TC, 0, 'additional records that do not fit are no truncation');
  t.true(whole.additionals.length > 0 && whole.additionals.length < 70);
  const cut = ask('_80._tcp.many', TYPE.SRV);
  t.true((cut.flags & FLAG.TC) !== 0);
  t.true(cut.answers.length > 5);
  t.deepEqual([cut.answers, cut.additionals], [whole.answers.slice(0, cut.answers.length), []]);
});

test('TXT has the labels of the service, a record each', (t) => {
  const strings = (reply: Message) =>
    reply.answers.map(({ data }) =>
      data.type === TYPE.TXT ? data.strings.map((one) => Buffer.from(one).toString()) : [],
    );
  t.deepEqual(strings(ask('web.front', TYPE.TXT)), [['rack=1'], [`note=${'x'.repeat(250)}`, 'x'.repeat(50)]]);
  t.deepEqual(strings(ask('many', TYPE.TXT)), []);
  t.is(rcode(ask('many', TYPE.TXT)), RCODE.NOERROR);
});

test('addresses of backends are those of the name', (t) => {
  t.deepEqual(answersOf(ask('tasks.web.front', TYPE.A)).sort(), ['10.0.1.11', '10.0.1.12']);
  t.deepEqual(answersOf(ask('tasks.web.front', TYPE.AAAA)).sort(), ['fd00::11', 'fd00::13']);
});

for (const [what, served, message] of [
  ['without address', [{ backends: [{ weight: 1 }] }], /tasks\.w\.served\.0\.backends\.0: it has no address/],
  [
    'with a weight over 65535',
    [{ backends: [{ a: '10.0.0.1', weight: 65536 }] }],
    /weight: not a number from 0 to 65535/,
  ],
  ['of the other family', [{ backends: [{ a: 'fd00::1' }] }], /a: fd00::1 is of the other address family/],
  [
    'with a port that is none',
    [{ backends: [], ports: [{ proto: 'tcp', from: 1, to: 2, target: -1 }] }],
    /target: not a number/,
  ],
  ['that are no list', {}, /tasks\.w\.served: not a list/],
] as const) {
  test(`backends ${what} are refused`, (t) => {
    const networks = { n: { internal: false, names: { 'tasks.w': { served } }, ptr: {} } };
    t.throws(() => parseView({ revision: 1, upstreams: [], sandboxes: {}, networks }), {
      code: 'WEFT_INVALID_ARGUMENT',
      message,
    });
  });
}
