import test from 'ava';
import { exposition } from '../../src/api/exposition.js';

test('a metric is its help, its type and its samples', (t) => {
  const samples = [{ value: 1 }, { labels: { a: 'x', b: 'y' }, value: 2.5 }];
  t.is(
    exposition([{ name: 'weft_things_total', type: 'counter', help: 'Things.', samples }]),
    [
      '# HELP weft_things_total Things.',
      '# TYPE weft_things_total counter',
      'weft_things_total 1',
      'weft_things_total{a="x",b="y"} 2.5',
      '',
    ].join('\n'),
  );
});

test('one without samples is left out', (t) => {
  t.is(exposition([{ name: 'weft_nothing', type: 'gauge', help: 'Nothing.', samples: [] }]), '');
});

test('label values are escaped', (t) => {
  const text = exposition([
    { name: 'm', type: 'gauge', help: 'h', samples: [{ labels: { l: 'a\\b"c\nd' }, value: 0 }] },
  ]);
  t.true(text.endsWith('m{l="a\\\\b\\"c\\nd"} 0\n'));
});
