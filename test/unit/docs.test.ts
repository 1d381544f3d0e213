import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import type { AgentPort } from '../../src/api/agent.js';
import { openapi } from '../../src/api/openapi.js';
import { allRoutes } from '../../src/api/routes.js';
import { ERRORS } from '../../src/base/errors.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** Compiled tests lie one folder deeper than their sources, so scripts are named from the root and typed here. */
async function script<T>(path: string): Promise<T> {
  return (await import(new URL(`../../../scripts/${path}`, import.meta.url).href)) as T;
}

interface Prose {
  markdownFiles(root: string): string[];
  brokenLinks(root: string, file: string): string[];
  localWords(root: string, file: string): string[];
}

const { errorsPage } = await script<{ errorsPage: (errors: object) => string }>('docs/errors-page.mjs');
const { apiPage } = await script<{ apiPage: (document: object) => string }>('docs/api-page.mjs');
const { markdownFiles, brokenLinks, localWords } = await script<Prose>('docs/prose.mjs');
const { untested } = await script<{ untested(root: string, file?: string): string[] }>('docs/behaviours.mjs');

const routes = allRoutes({} as AgentPort);

/** Faults of one page, beside a file `there.md` with the heading "Two words". */
function faultsOf(text: string, check: (root: string, file: string) => string[]): string[] {
  const root = mkdtempSync(join(tmpdir(), 'weft-docs-'));
  try {
    writeFileSync(join(root, 'there.md'), '# Two words\n');
    writeFileSync(join(root, 'page.md'), text);
    return check(root, 'page.md');
  } finally {
    rmSync(root, { recursive: true });
  }
}

test('docs/errors.md lists exactly the errors there are', (t) => {
  const page = readFileSync(`${ROOT}docs/errors.md`, 'utf8');
  t.is(page, errorsPage(ERRORS));
  const rows = [...page.matchAll(/^\| `(WEFT_\w+)` \| (\d+) \| (.+) \|$/gm)].map(([, code, status, meaning]) => [
    code,
    [Number(status), meaning],
  ]);
  t.deepEqual(Object.fromEntries(rows), ERRORS);
});

test('a new error changes the page', (t) => {
  t.not(errorsPage({ ...ERRORS, WEFT_NEW: [400, 'new'] }), errorsPage(ERRORS));
});

test('docs/api.md is what the routes give', (t) => {
  t.is(readFileSync(`${ROOT}docs/api.md`, 'utf8'), apiPage(openapi(routes)));
});

test('docs/api.md names every route with its query, and every field of every body', (t) => {
  const page = readFileSync(`${ROOT}docs/api.md`, 'utf8');
  for (const { method, path, summary, query } of routes) {
    const row = page
      .split('\n')
      .find((line) => line.startsWith(`| \`${method} ${path.replace(/:(\w+)/g, '{$1}')}\` |`));
    t.truthy(row, `${method} ${path}`);
    for (const word of [summary, ...Object.keys(query ?? {})])
      t.true(row?.includes(word), `${method} ${path}: ${word}`);
  }
  t.regex(page, /### PublishedPort\n/);
  t.regex(page, /\| `publishedEnd` \| number, 1 to 65535 \|/);
});

test('a schema that the page has no words for is refused', (t) => {
  const schemas = { X: { properties: { odd: { type: 'null' } } } };
  t.throws(() => apiPage({ paths: {}, components: { schemas } }), { message: /no words/ });
});

test('links and words of the documents are good', (t) => {
  const files = markdownFiles(ROOT);
  t.true(files.includes('README.md') && files.includes('docs/architecture.md'));
  t.false(files.some((file) => file.includes('node_modules')));
  t.deepEqual(
    files.flatMap((file) => [...brokenLinks(ROOT, file), ...localWords(ROOT, file)]),
    [],
  );
});

test('links that lead somewhere pass', (t) => {
  const text =
    '[a](there.md) [b](there.md#two-words) [c](#here) [d](https://example.org/x)\n\n# Here\n\n`[e](code.md)`\n';
  t.deepEqual(faultsOf(text, brokenLinks), []);
});

for (const [what, text, fault] of [
  ['a missing file', '[a](gone.md)', /not there/],
  ['a missing heading', '[a](there.md#three-words)', /no such heading/],
  ['a missing heading of its own', '[a](#nowhere)', /no such heading/],
  ['a reference to a missing file', '[a][b]\n\n[b]: gone.md\n', /not there/],
  ['a way out of the repository', '[a](../../etc)', /leaves the repository/],
] as const) {
  test(`a link to ${what} is found`, (t) => {
    const faults = faultsOf(text, brokenLinks);
    t.is(faults.length, 1);
    t.regex(faults[0] ?? '', fault);
  });
}

test('paths and hosts of one machine are found', (t) => {
  t.is(faultsOf('see /home/me/weft and `/srv/x`', localWords).length, 2);
  t.is(faultsOf('see http://registry.lan:8080/x', localWords).length, 1);
});

test('paths that every machine has are no fault, nor are prefixes and fractions', (t) => {
  const text = '/run/weft /var/lib/weft `PUT /v1/wish` 10.0.0.0/24 a /32 and/or src/api/routes.ts https://semver.org/';
  t.deepEqual(faultsOf(text, localWords), []);
});

test('each behaviour has a row, and the tests that it names are there', (t) => {
  t.deepEqual(untested(ROOT), []);
  const rows = Array.from({ length: 27 }, (_, i) => `| ${i + 1} | What | all | [there](there.md) "Two words" |\n`);
  const faults = (page: string[]) => faultsOf(page.join(''), untested);
  t.deepEqual(faults(rows), []);
  t.deepEqual(faults(rows.slice(1)), ['page.md: no row of behaviour 1']);
  t.deepEqual(faults(['| 1 | What | all | by hand |\n', ...rows.slice(1)]), ['page.md: behaviour 1 names no test']);
  const other = '| 2 | What | all | [there](there.md) "Two words", "Three" |\n';
  t.deepEqual(faults([rows[0] as string, other, ...rows.slice(2)]), [
    'page.md: behaviour 2: "Three" is not in there.md',
  ]);
});
