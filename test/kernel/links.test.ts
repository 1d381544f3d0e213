import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { LinkPort } from '../../src/kernel/real/links.js';
import { loadNative } from '../../src/kernel/real/native.js';
import { Spaces } from '../../src/kernel/real/spaces.js';
import { NODE_NS } from '../../src/objects/kind.js';
import { type BridgeLink, linkKind, type VethLink, WEFT_GROUP } from '../../src/objects/link.js';
import { plan, type Wanted } from '../../src/reconcile/plan.js';
import { needs } from '../support/needs.js';

/*
 * Somebody deletes the bridge between the observation of a pass and the birth of a port. The soak came upon it: the pair
 * was there without its mark, and stood in its own way for ever.
 */
if (needs(t, ['root', 'veth', 'bridge', 'ip'])) {
  t.test('a pair whose bridge is gone is refused, and bears its mark', async (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'weft-links-'));
    const spaces = new Spaces(loadNative(), dir);
    t.teardown(() => {
      spaces.closeAll();
      for (const pin of spaces.pins()) spaces.remove(pin);
      spaces.unmountIfEmpty();
      rmSync(dir, { recursive: true });
    });
    spaces.create('c1');
    const want: VethLink = {
      type: 'veth',
      name: 'wfg0',
      up: true,
      master: 'gone',
      alias: 'weft:gateway/c1',
      peer: { ns: 'c1', name: 'gw0' },
    };
    const op = {
      verb: 'add',
      ns: NODE_NS,
      kind: 'link',
      key: want.name,
      want,
      because: 'a test',
      owner: 'test',
    } as const;
    const [refused] = await new LinkPort(spaces).apply(NODE_NS, [op]);
    t.match(refused?.message, /there is no gone/);
    const [link] = JSON.parse(execFileSync('ip', ['-j', 'link', 'show', 'wfg0'], { encoding: 'utf8' })) as {
      ifalias?: string;
    }[];
    t.equal(link?.ifalias, want.alias);
  });

  t.test('a link that was born but not named is taken over if it has the group, and a stranger without', async (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'weft-links-'));
    const spaces = new Spaces(loadNative(), dir);
    const name = `wb${process.pid}`;
    const ip = (...args: string[]) => execFileSync('ip', args, { encoding: 'utf8' });
    t.teardown(() => {
      spaces.closeAll();
      spaces.unmountIfEmpty();
      rmSync(dir, { recursive: true });
    });
    const where = { ns: NODE_NS, nsOwned: false };
    const want: BridgeLink = { type: 'bridge', name, up: true, alias: 'weft:network/born' };
    const wanted: Wanted<BridgeLink> = { ns: NODE_NS, kind: 'link', object: want, because: 'a test', owner: 'test' };
    const port = new LinkPort(spaces);
    const planned = async () =>
      plan(linkKind, where, new Map([[name, wanted]]), await port.observe(NODE_NS), () => undefined, new Set([name]));

    ip('link', 'add', name, 'type', 'bridge');
    t.teardown(() => ip('link', 'del', name));
    const stranger = await planned();
    t.same([stranger.ops.length, stranger.clashes.length], [0, 1], 'of group 0: a stranger');

    ip('link', 'set', name, 'group', String(WEFT_GROUP));
    const born = await planned();
    t.same([born.ops.map(({ verb }) => verb), born.clashes], [['change'], []]);
    t.same(await port.apply(NODE_NS, born.ops), [undefined]);
    const [link] = JSON.parse(ip('-j', 'link', 'show', name)) as { ifalias?: string }[];
    t.equal(link?.ifalias, want.alias);

    ip('link', 'set', name, 'group', '0');
    const older = await planned();
    t.same([older.ops, older.clashes], [[], []], 'an alias is enough: one of an older version is left as it is');
  });

  t.test('both ends of a pair are born with the mark', async (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'weft-links-'));
    const spaces = new Spaces(loadNative(), dir);
    t.teardown(() => {
      spaces.closeAll();
      for (const pin of spaces.pins()) spaces.remove(pin);
      spaces.unmountIfEmpty();
      rmSync(dir, { recursive: true });
    });
    for (const ns of ['b1', 'b2']) spaces.create(ns);
    const want: VethLink = { type: 'veth', name: 'near0', up: true, peer: { ns: 'b2', name: 'far0' } };
    const op = { verb: 'add', ns: 'b1', kind: 'link', key: 'near0', want, because: 'a test', owner: 'test' } as const;
    t.same(await new LinkPort(spaces).apply('b1', [op]), [undefined]);
    for (const [ns, name] of [
      ['b1', 'near0'],
      ['b2', 'far0'],
    ] as const) {
      const out = execFileSync(
        'nsenter',
        [`--net=/proc/${process.pid}/fd/${spaces.open(ns)?.fd}`, 'ip', '-j', 'link', 'show', name],
        {
          encoding: 'utf8',
        },
      );
      const [link] = JSON.parse(out) as { group?: string }[];
      t.equal(link?.group, String(WEFT_GROUP), name);
    }
  });
}
