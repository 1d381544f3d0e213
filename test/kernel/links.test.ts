import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { LinkPort } from '../../src/kernel/real/links.js';
import { loadNative } from '../../src/kernel/real/native.js';
import { Spaces } from '../../src/kernel/real/spaces.js';
import { NODE_NS } from '../../src/objects/kind.js';
import type { VethLink } from '../../src/objects/link.js';
import { needs } from '../support/needs.js';

/*
 * Somebody deletes the bridge between the observation of a pass and the birth of a port. The soak came upon it: the pair
 * was there without its mark, and stood in its own way for ever.
 */
if (needs(t, ['root', 'veth'])) {
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
}
