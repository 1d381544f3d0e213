// What the demo claims, what it saw, and the table of both.

/** @type {{ what: string, expected: string, seen: string, ok: boolean }[]} */
const rows = [];

/** Notes a claim; both sides are texts that a reader can compare. */
export function check(what, expected, seen, ok = expected === seen) {
  rows.push({ what, expected, seen, ok });
  console.log(`  ${ok ? 'ok    ' : 'NOT OK'} ${what}: ${seen}${ok ? '' : ` (expected ${expected})`}`);
}

export const failures = () => rows.filter((row) => !row.ok).length;

export function printTable() {
  const heading = { what: 'CHECK', expected: 'EXPECTED', seen: 'SEEN', ok: 'OK' };
  const text = [heading, ...rows.map((row) => ({ ...row, ok: row.ok ? 'yes' : 'NO' }))];
  const width = (key) => Math.max(...text.map((row) => row[key].length));
  const widths = { what: width('what'), expected: width('expected'), seen: width('seen') };
  console.log('');
  for (const row of text) {
    const cells = Object.entries(widths).map(([key, n]) => row[key].padEnd(n));
    console.log([...cells, row.ok].join('  '));
  }
}
