// docs/behaviours.md names the tests of each behaviour: files by a link, titles and words of them in quotes behind it.
import fs from 'node:fs';
import path from 'node:path';

const BEHAVIOURS = 'docs/behaviours.md';
/** Behaviours of services and published ports; each has one row. */
const COUNT = 27;

/** Rows that are missing or name no test, and tests that are not there. @returns {string[]} one line each */
export function untested(root, file = BEHAVIOURS) {
  const text = fs.readFileSync(path.join(root, file), 'utf8');
  const rows = [...text.matchAll(/^\| (\d+) \|.*\| (.+) \|$/gm)];
  const tests = new Map(rows.map(([, number, cell]) => [Number(number), cell]));
  const missing = Array.from({ length: COUNT }, (_, i) => i + 1).filter((number) => !tests.has(number));
  return [
    ...missing.map((number) => `${file}: no row of behaviour ${number}`),
    ...[...tests].flatMap(([number, cell]) => faultsOf(root, file, number, cell)),
  ];
}

function faultsOf(root, file, number, cell) {
  const named = [...cell.matchAll(/\]\(([^)]+)\)((?:,? "[^"]+")+)/g)];
  if (named.length === 0) return [`${file}: behaviour ${number} names no test`];
  return named.flatMap(([, link, titles]) => {
    const source = path.join(root, path.dirname(file), link);
    const text = fs.existsSync(source) ? fs.readFileSync(source, 'utf8') : '';
    return [...titles.matchAll(/"([^"]+)"/g)]
      .filter(([, title]) => !text.includes(title))
      .map(([, title]) => `${file}: behaviour ${number}: "${title}" is not in ${link}`);
  });
}
