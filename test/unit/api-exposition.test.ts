import test from 'ava';
import { exposition, histogramSamples } from '../../src/api/exposition.js';

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

test('a histogram adds up its buckets', (t) => {
  const samples = histogramSamples({ way: 'w' }, [0.1, 2], { counts: [3, 0, 1], sum: 7.5 });
  t.is(
    exposition([{ name: 'm_seconds', type: 'histogram', help: 'h', samples }]),
    [
      '# HELP m_seconds h',
      '# TYPE m_seconds histogram',
      'm_seconds_bucket{way="w",le="0.1"} 3',
      'm_seconds_bucket{way="w",le="2"} 3',
      'm_seconds_bucket{way="w",le="+Inf"} 4',
      'm_seconds_sum{way="w"} 7.5',
      'm_seconds_count{way="w"} 4',
      '',
    ].join('\n'),
  );
});

test('label values are escaped', (t) => {
  const text = exposition([
    { name: 'm', type: 'gauge', help: 'h', samples: [{ labels: { l: 'a\\b"c\nd' }, value: 0 }] },
  ]);
  t.true(text.endsWith('m{l="a\\\\b\\"c\\nd"} 0\n'));
});
