import { WeftError } from '../base/errors.js';

/** A plain object; with `fields` exactly those, the ones that end in `?` may be missing. */
export function object(json: unknown, at: string, fields?: readonly string[]): Record<string, unknown> {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw invalid(at, 'not an object');
  const found = json as Record<string, unknown>;
  if (!fields) return found;
  for (const field of fields) {
    if (!field.endsWith('?') && !Object.hasOwn(found, field)) throw invalid(at, `"${field}" is missing`);
  }
  for (const key of Object.keys(found)) {
    if (!fields.includes(key) && !fields.includes(`${key}?`)) throw invalid(at, `"${key}" is not known`);
  }
  return found;
}

export function strings(json: unknown, at: string): string[] {
  if (!Array.isArray(json) || !json.every((entry) => typeof entry === 'string'))
    throw invalid(at, 'not a list of strings');
  return json;
}

export function natural(json: unknown, at: string, max = Number.MAX_SAFE_INTEGER): number {
  if (typeof json === 'number' && Number.isInteger(json) && json >= 0 && json <= max) return json;
  throw invalid(at, max === Number.MAX_SAFE_INTEGER ? 'not a natural number' : `not a number from 0 to ${max}`);
}

export function invalid(at: string, why: string): WeftError {
  return new WeftError('WEFT_INVALID_ARGUMENT', `${at}: ${why}`);
}
