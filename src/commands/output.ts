import { styleText } from 'node:util';

export type Format = 'table' | 'wide' | 'json' | 'name';
export type Row = Record<string, unknown>;

/** A column: heading, and how to get its text from a row. `wide` columns show with `-o wide` only. */
export interface Column {
  heading: string;
  text: (row: Row) => unknown;
  wide?: boolean;
}

export const column = (heading: string, key = heading.toLowerCase(), wide = false): Column => ({
  heading,
  text: (row) => key.split('.').reduce<unknown>((value, part) => (value as Row | undefined)?.[part], row),
  wide,
});

/**
 * Prints rows in the format asked for. JSON is the rows as they came: a stable schema.
 * @param name key of what `-o name` prints
 * @param detail lines that `-o wide` adds under a row
 */
export function printRows(
  rows: readonly Row[],
  columns: readonly Column[],
  format: Format,
  name = 'id',
  detail: (row: Row) => string[] = () => [],
): void {
  if (format === 'json') {
    process.stdout.write(`${JSON.stringify(rows, undefined, 2)}\n`);
    return;
  }
  if (format === 'name') {
    for (const row of rows) process.stdout.write(`${String(row[name])}\n`);
    return;
  }
  const shown = columns.filter((c) => format === 'wide' || !c.wide);
  const lines = [shown.map((c) => c.heading), ...rows.map((row) => shown.map((c) => cell(c.text(row))))];
  const widths = shown.map((_, i) => Math.max(...lines.map((line) => (line[i] as string).length)));
  for (const [n, line] of lines.entries()) {
    const text = line
      .map((field, i) => field.padEnd(widths[i] as number))
      .join('  ')
      .trimEnd();
    process.stdout.write(`${n === 0 && process.stdout.isTTY ? styleText('bold', text) : text}\n`);
    if (format !== 'wide' || n === 0) continue;
    for (const below of detail(rows[n - 1] as Row)) process.stdout.write(`    ${below}\n`);
  }
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
}

function cell(value: unknown): string {
  if (value === undefined || value === null || value === '') return '-';
  if (Array.isArray(value)) return value.map(cell).join(',') || '-';
  if (typeof value === 'object')
    return (
      Object.entries(value)
        .map(([k, v]) => `${k}=${cell(v)}`)
        .join(',') || '-'
    );
  return String(value);
}
