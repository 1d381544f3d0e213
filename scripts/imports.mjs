#!/usr/bin/env node
// Which part of src may import which. The table below is the rule; `npm run check` runs it.
import fs from 'node:fs';
import { isBuiltin } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

/**
 * Parts of src, from the ground up. `imports` are other parts, `types` parts of which only types may be imported.
 * A pure part touches nothing outside itself: no `node:` modules, and of the packages only those in `packages`.
 */
const PARTS = {
  base: { pure: true, imports: [] },
  model: { pure: true, imports: ['base'], packages: ['zod'] },
  objects: { pure: true, imports: ['base'] },
  codec: { pure: true, imports: ['base', 'objects'] },
  'reconcile/plan': { pure: true, imports: ['base', 'objects'] },
  // A driver's objects depend on the balancer in use and the balancers' on the networks: one tier, no I/O in either.
  // What they want of nf_tables is written in the codec's own expressions; a second vocabulary would only repeat them.
  network: { pure: true, imports: ['base', 'model', 'objects', 'codec', 'reconcile/plan', 'balance'] },
  balance: { pure: true, imports: ['base', 'model', 'objects', 'codec', 'reconcile/plan', 'network'] },
  'kernel/port': { imports: ['base', 'objects', 'reconcile/plan'] },
  'kernel/real': { imports: ['base', 'objects', 'codec', 'reconcile/plan', 'kernel/port'] },
  'kernel/fake': { imports: ['base', 'objects', 'reconcile/plan', 'kernel/port'] },
  // The loop and all above it know the kernel by its port alone; which kernel it is, the agent decides.
  'reconcile/loop': { imports: ['base', 'objects', 'reconcile/plan', 'kernel/port'] },
  state: { imports: ['base', 'model'] },
  dns: { imports: ['base', 'model', 'state'] },
  'api/client': { imports: ['base'] },
  api: { imports: ['base', 'model', 'objects', 'reconcile/plan', 'reconcile/loop', 'state', 'api/client'] },
  agent: {
    imports: [
      ...['base', 'model', 'objects', 'codec', 'network', 'balance', 'reconcile/plan', 'reconcile/loop'],
      ...['kernel/port', 'kernel/real', 'state', 'dns', 'api'],
    ],
  },
  commands: { imports: ['base', 'api/client'], types: ['model'] },
};

/** Files that are a part of their own inside their folder. */
const SINGLED_OUT = new Map([
  ['src/reconcile/plan.ts', 'reconcile/plan'],
  ['src/reconcile/desired.ts', 'reconcile/plan'],
  ['src/api/client.ts', 'api/client'],
]);

/** `node:` modules that pure files may use all the same: they compute, and touch nothing. */
const COMPUTING = [
  { file: 'src/base/digest.ts', module: 'node:crypto', because: 'SHA-256 of names, for interfaces and ports' },
  { file: 'src/base/mac.ts', module: 'node:crypto', because: 'SHA-256 of IPv6 addresses, for MACs' },
  { file: 'src/balance/backends.ts', module: 'node:crypto', because: 'SHA-256 of IPv6 backends, for connection marks' },
  { file: 'src/balance/turns.ts', module: 'node:crypto', because: 'SHA-256 of backends, for tables of hashes' },
  { file: 'src/codec/netlink.ts', module: 'node:os', because: 'the table of errno names' },
];

/** The part of src that a file belongs to; '' for the composition roots, undefined where the table has none. */
export function partOf(file) {
  const [, folder, sub, more] = file.split('/');
  if (sub === undefined) return '';
  const single = SINGLED_OUT.get(file);
  if (single !== undefined) return single;
  if (folder === 'reconcile') return 'reconcile/loop';
  const part = folder === 'kernel' ? `kernel/${more === undefined ? 'port' : sub}` : folder;
  return Object.hasOwn(PARTS, part) ? part : undefined;
}

/**
 * @typedef {{ from: string, to: string, line: number, typeOnly: boolean }} Edge `from` is a file (`src/base/ip.ts`),
 *   `to` such a file, a `node:` module or a package
 */

/** Every breach of the table, one line each. @param {readonly Edge[]} edges @returns {string[]} */
export function breaches(edges) {
  return edges.flatMap((edge) => {
    const why = breach(edge);
    return why === undefined ? [] : [`${edge.from}:${edge.line}: ${why}`];
  });
}

function breach({ from, to, typeOnly }) {
  const part = partOf(from);
  if (part === undefined) return `the folder is in no row of the import table (scripts/imports.mjs)`;
  if (part === '') return undefined;
  const { pure, imports, types = [], packages = [] } = PARTS[part];
  if (!to.startsWith('src/')) {
    if (!pure || packages.includes(to)) return undefined;
    if (COMPUTING.some((allowed) => allowed.file === from && allowed.module === to)) return undefined;
    return `imports ${to}, and ${part} is pure`;
  }
  const target = partOf(to);
  if (target === '') return `imports ${to}, a composition root`;
  if (target === part || imports.includes(target)) return undefined;
  if (types.includes(target)) return typeOnly ? undefined : `imports more than types of ${to}`;
  return `imports ${to}: ${part} may not see ${target ?? 'that folder'}`;
}

/** Exceptions of COMPUTING that no file needs any more. @param {readonly Edge[]} edges */
export function unusedExceptions(edges) {
  return COMPUTING.filter(({ file, module }) => !edges.some((edge) => edge.from === file && edge.to === module)).map(
    ({ file, module }) => `scripts/imports.mjs: ${file} is allowed ${module} and does not use it`,
  );
}

/** All imports below ROOT/src. @param {string} root @returns {Edge[]} */
export function edgesBelow(root) {
  const files = fs
    .readdirSync(path.join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .sort();
  return files.flatMap((file) =>
    edgesOf(path.posix.join('src', file), fs.readFileSync(path.join(root, 'src', file), 'utf8')),
  );
}

/** Imports of one file: static, re-exports, `import()` and import types. @returns {Edge[]} */
export function edgesOf(file, text) {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ES2022);
  const edges = [];
  const add = (node, specifier, typeOnly) => {
    const line = source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;
    edges.push({ from: file, to: target(file, specifier.text), line, typeOnly });
  };
  const visit = (node) => {
    if (ts.isImportDeclaration(node)) add(node, node.moduleSpecifier, node.importClause?.isTypeOnly ?? false);
    else if (ts.isExportDeclaration(node) && node.moduleSpecifier) add(node, node.moduleSpecifier, node.isTypeOnly);
    else if (ts.isImportTypeNode(node)) add(node, node.argument.literal, true);
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [specifier] = node.arguments;
      if (specifier && ts.isStringLiteral(specifier)) add(node, specifier, false);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return edges;
}

function target(from, specifier) {
  if (specifier.startsWith('.')) return path.posix.join(path.posix.dirname(from), specifier).replace(/\.js$/, '.ts');
  if (isBuiltin(specifier)) return specifier.startsWith('node:') ? specifier : `node:${specifier}`;
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const edges = edgesBelow(fileURLToPath(new URL('..', import.meta.url)));
  const found = [...breaches(edges), ...unusedExceptions(edges)];
  for (const line of found) console.error(line);
  process.exitCode = found.length > 0 ? 1 : 0;
}
