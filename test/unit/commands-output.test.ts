import test, { type ExecutionContext } from 'ava';
import { column, type Format, printJson, printRows, type Row } from '../../src/commands/output.js';
import { at, given, pairs, positive, waitQuery, whole } from '../../src/commands/shared.js';

/** What a call prints. */
function printed(t: ExecutionContext, call: () => void): string {
  const { write } = process.stdout;
  t.teardown(() => {
    process.stdout.write = write;
  });
  let text = '';
  process.stdout.write = (chunk: string | Uint8Array): boolean => {
    text += String(chunk);
    return true;
  };
  try {
    call();
  } finally {
    process.stdout.write = write;
  }
  return text;
}

const ROWS: Row[] = [
  {
    id: 'app',
    subnets: ['10.20.0.0/24', 'fd00::/64'],
    vni: 4097,
    status: { phase: 'ready' },
    labels: { tier: 'front' },
  },
  { id: 'a-long-name', subnets: [], vni: 0, status: { phase: 'degraded', reason: 'EBUSY' }, labels: {} },
];
const COLUMNS = [
  column('NAME', 'id'),
  column('SUBNETS'),
  column('VNI'),
  column('PHASE', 'status.phase'),
  column('LABELS', 'labels', true),
  column('REASON', 'status.reason', true),
];
const rows = (t: ExecutionContext, format: Format, name?: string): string =>
  printed(t, () => printRows(ROWS, COLUMNS, format, name));

test.serial('a table: aligned, no trailing blanks, nothing as a dash', (t) => {
  t.is(
    rows(t, 'table'),
    [
      'NAME         SUBNETS                 VNI   PHASE',
      'app          10.20.0.0/24,fd00::/64  4097  ready',
      'a-long-name  -                       0     degraded',
      '',
    ].join('\n'),
  );
});

test.serial('wide has the other columns too', (t) => {
  const lines = rows(t, 'wide').split('\n');
  t.regex(lines[0] ?? '', /LABELS {6}REASON$/);
  t.regex(lines[1] ?? '', /tier=front {2}-$/);
  t.regex(lines[2] ?? '', / - {11}EBUSY$/);
});

test.serial('json is the rows as they came; name is one a line', (t) => {
  t.deepEqual(JSON.parse(rows(t, 'json')), ROWS);
  t.is(rows(t, 'name'), 'app\na-long-name\n');
  t.is(rows(t, 'name', 'vni'), '4097\n0\n');
});

test.serial('nothing to show: a heading in a table, an empty list in JSON, nothing in names', (t) => {
  const empty = (format: Format) => printed(t, () => printRows([], [column('NAME')], format));
  t.is(empty('table'), 'NAME\n');
  t.is(empty('json'), '[]\n');
  t.is(empty('name'), '');
  t.is(
    printed(t, () => printJson({ a: 1 })),
    '{\n  "a": 1\n}\n',
  );
});

test('options of commands', (t) => {
  t.deepEqual(pairs(['a=1', 'b=', 'c=x=y']), { a: '1', b: '', c: 'x=y' });
  for (const text of ['novalue', '=1']) t.throws(() => pairs([text]), { message: /KEY=VALUE/ });
  t.is(positive('0.5'), 0.5);
  for (const text of ['0', '-1', 'x', 'Infinity']) t.throws(() => positive(text));
  t.is(whole('0'), 0);
  for (const text of ['-1', '1.5', '', '1e3', ' 1']) t.throws(() => whole(text));
  t.deepEqual(given({ a: undefined, b: false, c: 0 }), { b: false, c: 0 });
  t.is(waitQuery({}), '');
  t.is(waitQuery({ wait: true, timeout: 2.5 }), '?wait=applied&timeoutMs=2500');
  t.is(at('peers', 'app/10.0.0.1'), '/v1/peers/app%2F10.0.0.1');
});
