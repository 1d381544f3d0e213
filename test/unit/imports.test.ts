import { fileURLToPath } from 'node:url';
import test from 'ava';

interface Edge {
  from: string;
  to: string;
  line: number;
  typeOnly: boolean;
}

interface Imports {
  breaches(edges: readonly Edge[]): string[];
  unusedExceptions(edges: readonly Edge[]): string[];
  edgesOf(file: string, text: string): Edge[];
  edgesBelow(root: string): Edge[];
}

const { breaches, unusedExceptions, edgesOf, edgesBelow } = (await import(
  new URL('../../../scripts/imports.mjs', import.meta.url).href
)) as Imports;

const edge = (from: string, to: string, typeOnly = false): Edge => ({ from, to, line: 1, typeOnly });

test('the tree keeps to the table', (t) => {
  const edges = edgesBelow(fileURLToPath(new URL('../../../', import.meta.url)));
  t.true(edges.length > 300);
  t.deepEqual(breaches(edges), []);
  t.deepEqual(unusedExceptions(edges), []);
});

for (const [from, to] of [
  ['src/base/ip.ts', 'src/model/network.ts'],
  ['src/model/network.ts', 'src/codec/attr.ts'],
  ['src/objects/link.ts', 'src/kernel/port.ts'],
  ['src/codec/netlink.ts', 'src/network/world.ts'],
  ['src/network/overlay/driver.ts', 'src/kernel/port.ts'],
  ['src/reconcile/plan.ts', 'src/reconcile/loop.ts'],
  ['src/reconcile/desired.ts', 'src/kernel/port.ts'],
  ['src/reconcile/pass.ts', 'src/kernel/real/kernel.ts'],
  ['src/kernel/real/links.ts', 'src/network/world.ts'],
  ['src/kernel/real/links.ts', 'src/state/store.ts'],
  ['src/kernel/port.ts', 'src/kernel/real/kernel.ts'],
  ['src/state/store.ts', 'src/api/http.ts'],
  ['src/api/server.ts', 'src/kernel/real/kernel.ts'],
  ['src/api/server.ts', 'src/agent/agent.ts'],
  ['src/agent/agent.ts', 'src/commands/output.ts'],
  ['src/agent/agent.ts', 'src/kernel/fake/kernel.ts'],
  ['src/commands/network.ts', 'src/state/store.ts'],
  ['src/commands/network.ts', 'src/api/http.ts'],
  ['src/commands/network.ts', 'src/model/network.ts'],
  ['src/api/server.ts', 'src/weftd.ts'],
  ['src/codec/netlink.ts', 'node:fs'],
  ['src/codec/attr.ts', 'node:os'],
  ['src/objects/link.ts', 'zod'],
  ['src/newcomer/x.ts', 'src/base/ip.ts'],
  ['src/api/server.ts', 'src/newcomer/x.ts'],
] as const) {
  test(`${from} may not import ${to}`, (t) => {
    t.is(breaches([edge(from, to)]).length, 1);
  });
}

for (const [from, to, typeOnly] of [
  ['src/codec/netlink.ts', 'src/base/bytes.ts', false],
  ['src/codec/netlink.ts', 'node:os', false],
  ['src/reconcile/loop.ts', 'src/reconcile/plan.ts', false],
  ['src/reconcile/loop.ts', 'node:events', false],
  ['src/commands/network.ts', 'src/api/client.ts', false],
  ['src/commands/network.ts', 'src/model/network.ts', true],
  ['src/weftd.ts', 'src/agent/agent.ts', false],
] as const) {
  test(`${from} may import ${typeOnly ? 'types of ' : ''}${to}`, (t) => {
    t.deepEqual(breaches([edge(from, to, typeOnly)]), []);
  });
}

test('an exception that no file needs is told', (t) => {
  const unused = unusedExceptions([edge('src/codec/netlink.ts', 'node:os')]);
  t.true(unused.some((line) => line.includes('src/base/mac.ts')));
  t.false(unused.some((line) => line.includes('src/codec/netlink.ts')));
});

test('every way to import is seen', (t) => {
  const text = [
    "import { a } from './a.js';",
    "import type { B } from '../b.js';",
    "export { c } from './c.js';",
    "import 'fs';",
    "const d = await import('@scope/d/deep');",
    "let e: import('zod/v4').ZodType;",
    "// import { f } from './f.js';",
  ].join('\n');
  t.deepEqual(
    edgesOf('src/x/y.ts', text).map(({ to, line, typeOnly }) => [to, line, typeOnly]),
    [
      ['src/x/a.ts', 1, false],
      ['src/b.ts', 2, true],
      ['src/x/c.ts', 3, false],
      ['node:fs', 4, false],
      ['@scope/d', 5, false],
      ['zod', 6, true],
    ],
  );
});
