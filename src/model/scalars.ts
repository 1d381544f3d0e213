import { z } from 'zod';
import { cidrText, parseCidr } from '../base/cidr.js';
import { WeftError } from '../base/errors.js';
import { canonicalIp } from '../base/ip.js';
import { canonicalMac } from '../base/mac.js';

/** Runs a parser of base/ inside a schema, so that its message and code reach the caller through zod's issue. */
function parsed<T extends string>(parse: (text: string) => T, format: string) {
  return z
    .string()
    .transform((text, context) => {
      try {
        return parse(text);
      } catch (error) {
        const { code, message, hint } = error as WeftError;
        context.addIssue({ code: 'custom', message, params: { code, hint } });
        return z.NEVER;
      }
    })
    .meta({ format });
}

export const NAME_PATTERN = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/;

export const name = z.string().transform((text, context) => {
  if (NAME_PATTERN.test(text)) return text;
  context.addIssue({
    code: 'custom',
    message: `"${text}" is not a name`,
    params: { code: 'WEFT_INVALID_NAME', hint: 'use 1-63 of [a-zA-Z0-9][a-zA-Z0-9_.-]*' },
  });
  return z.NEVER;
});
export const ip = parsed(canonicalIp, 'ip');
export const cidr = parsed((text) => cidrText(parseCidr(text)), 'cidr');
/** An address or a prefix, in canonical text. */
export const addressOrCidr = parsed(
  (text) => (text.includes('/') ? cidrText(parseCidr(text)) : canonicalIp(text)),
  'ip-or-cidr',
);
export const mac = parsed(canonicalMac, 'mac');
export const port = z.int().min(1).max(65535);
export const proto = z.enum(['tcp', 'udp', 'sctp']);
export const labels = z.record(z.string(), z.string());
/** A VXLAN network identifier: 24 bits, 0 is reserved (RFC 7348 leaves it open; switches treat it as "none"). */
export const vni = z.int().min(1).max(0xffffff);

/** For what only a schema refuses. */
const FIELDS_HINT = 'docs/api.md lists the fields and what each can be';

/** Codes for zod issues that are not ours, by the field they stand in. */
const FIELD_CODES: [RegExp, WeftError['code']][] = [
  [/^(published|publishedEnd|target|dataPathPort|port)$/, 'WEFT_INVALID_PORT'],
  [/^(subnets|ipRanges|reserved)$/, 'WEFT_INVALID_SUBNET'],
];

/**
 * Parses a body by its schema.
 * @param what names the body in the message: `network "app"`
 * @throws the first issue as a WeftError; `details.issues` lists all
 */
export function parseWith<S extends z.ZodType>(schema: S, body: unknown, what: string): z.output<S> {
  const outcome = schema.safeParse(body);
  if (outcome.success) return outcome.data;
  const issues = outcome.error.issues.map((issue) => ({ path: issue.path.join('.'), message: issue.message }));
  const first = outcome.error.issues[0] as z.core.$ZodIssue;
  const params = (first.code === 'custom' ? first.params : undefined) as { code?: string; hint?: string } | undefined;
  const field = String(first.path.find((part) => typeof part === 'string') ?? '');
  const last = String(first.path.at(-1) ?? '');
  const byField = FIELD_CODES.find(([pattern]) => pattern.test(last) || pattern.test(field))?.[1];
  const code = (params?.code as WeftError['code'] | undefined) ?? byField ?? 'WEFT_INVALID_ARGUMENT';
  const where = first.path.length ? `${what}, ${first.path.join('.')}` : what;
  throw new WeftError(code, `${where}: ${first.message}`, params?.hint ?? FIELDS_HINT, { issues });
}
