import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import type { Stored } from '../../src/model/registry.js';
import { crc32 } from '../../src/state/crc32.js';
import { StoreRig } from '../support/store.js';

/** Fields that the first version did not write, by table. */
const LATER: Record<string, string[]> = {
  networks: ['reserved', 'vnis', 'options', 'labels'],
  sandboxes: ['host', 'ports'],
  endpoints: ['gwPriority', 'defaultRoute', 'routes', 'sysctls', 'bandwidth'],
};

/** The journal of a store as the first version would have written it. */
function aged(rig: StoreRig): void {
  const file = join(rig.dir, 'state.journal');
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  const old = lines.map((line) => {
    const record = JSON.parse(line.slice(9)) as { set?: Stored[] };
    for (const { table, spec } of record.set ?? []) {
      const fields = spec as unknown as Record<string, unknown>;
      for (const field of LATER[table] ?? []) delete fields[field];
      for (const published of (fields.publish ?? []) as Record<string, unknown>[]) {
        delete published.mode;
        delete published.allow;
        delete published.policy;
      }
    }
    const json = JSON.stringify(record);
    return `${crc32(json).toString(16).padStart(8, '0')} ${json}\n`;
  });
  writeFileSync(file, old.join(''));
}

test('a journal of a version that knew fewer fields: they have their defaults, and no revision changes', (t) => {
  const rig = new StoreRig(t).app();
  rig.put('networks', 'in', { subnets: ['10.255.0.0/24'], vni: 4096, ingress: true });
  rig.put('endpoints', 'c1:app', { addresses: ['10.20.0.11'] });
  rig.put('services', 'web', {
    networks: ['app'],
    vips: { app: ['10.20.0.100'] },
    publish: [{ published: 8080, target: 80 }],
  });
  const before = rig.store.wish;
  aged(rig);
  const after = rig.restart().wish;
  t.deepEqual(after, before);
  const { revision } = rig.store;
  rig.put('endpoints', 'c1:app', { addresses: ['10.20.0.11'] });
  rig.put('networks', 'app', { subnets: ['10.20.0.0/24'], vni: 4097, ipRanges: ['10.20.0.128/29'] });
  t.is(rig.store.revision, revision, 'stating the same again is no change');
});

test('a stored value that would be refused today stays as it is', (t) => {
  const rig = new StoreRig(t).app();
  const file = join(rig.dir, 'state.journal');
  const [line] = readFileSync(file, 'utf8').split('\n') as [string];
  const json = line.slice(9).replace('"10.20.0.128/29"', '"10.20.0.129/29"');
  writeFileSync(file, `${crc32(json).toString(16).padStart(8, '0')} ${json}\n`);
  t.deepEqual(rig.restart().get('networks', 'app')?.spec.ipRanges, ['10.20.0.129/29']);
});
