import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WeftError } from '../../src/base/errors.js';
import type { Table } from '../../src/model/registry.js';
import { parseGossipRow } from '../../src/state/gossip.js';
import type { Disk } from '../../src/state/journal.js';
import type { ProbeNetns } from '../../src/state/prepare.js';
import { Store } from '../../src/state/store.js';

/** The part of a test that removes what was made. */
interface Subject {
  teardown(fn: () => void): void;
}

export const SELF = { name: 'n1', vtep: '192.168.71.1' };

/** Namespaces that exist: /run/netns/a and /run/netns/b are one, /run/netns/c is another; pid 42 lives in `c`. */
const NAMESPACES: Record<string, string> = {
  '/run/netns/a': '4:1',
  '/run/netns/b': '4:1',
  '/run/netns/c': '4:2',
  42: '4:2',
};

export const probeNetns: ProbeNetns = (at) => {
  const identity = NAMESPACES['path' in at ? at.path : at.pid];
  if (identity === undefined)
    throw new WeftError('WEFT_INVALID_NETNS', `${JSON.stringify(at)} is no network namespace`, 'give one');
  return { identity, ...('pid' in at && { began: 'boot:1' }) };
};

/** A store in a directory of its own, which is removed after the test. */
export class StoreRig {
  readonly dir = mkdtempSync(join(tmpdir(), 'weft-store-'));
  store: Store;

  constructor(
    t: Subject,
    readonly disk?: Disk,
  ) {
    this.store = this.#opened();
    t.teardown(() => {
      this.store.close();
      rmSync(this.dir, { recursive: true, force: true });
    });
  }

  /** What a killed and restarted agent reads. */
  restart(self = SELF): Store {
    this.store.close();
    this.store = this.#opened(self);
    return this.store;
  }

  put(table: Table, id: string, body: unknown = {}): ReturnType<Store['put']> {
    return this.store.put(table, id, body);
  }

  /** A network `app` of 10.20.0.0/24 from which this agent allocates .128/29, and sandboxes c1 and c2. */
  app(): this {
    this.put('networks', 'app', { subnets: ['10.20.0.0/24'], vni: 4097, ipRanges: ['10.20.0.128/29'] });
    for (const name of ['c1', 'c2']) this.put('sandboxes', name);
    return this;
  }

  /** One POST body of gossip. */
  gossip(...rows: object[]): number {
    return this.store.gossip(rows.map((row, i) => parseGossipRow(JSON.stringify(row), i + 1)));
  }

  #opened(self = SELF): Store {
    const store = new Store(this.dir, self, probeNetns, this.disk);
    store.load();
    return store;
  }
}
