/**
 * Every error weft can answer with, declared once: its code, the HTTP status and what it means.
 * Callers branch on `code`, never on text or class (instanceof breaks across copies of a module).
 * `docs/errors.md` lists this table and `npm run check` fails when the two differ.
 */
export const ERRORS = {
  WEFT_INVALID_ARGUMENT: [400, 'an option, field or body has a value that cannot be used'],
  WEFT_INVALID_NAME: [400, 'a name does not match 1-63 of [a-zA-Z0-9][a-zA-Z0-9_.-]* or is reserved'],
  WEFT_INVALID_SUBNET: [400, 'a subnet, range or gateway is malformed, too small, or contradicts another'],
  WEFT_INVALID_ADDRESS: [400, 'an address is malformed or outside its subnet'],
  WEFT_INVALID_PORT: [400, 'a port, range or protocol is out of range'],
  WEFT_INVALID_ALLOCATION: [400, 'this agent may not allocate the value; it must be given'],
  WEFT_INVALID_NETNS: [400, 'a path or pid does not name a network namespace'],
  WEFT_NOT_FOUND: [404, 'the object does not exist'],
  WEFT_METHOD_NOT_ALLOWED: [405, 'the path exists but not with this method'],
  WEFT_CONFLICT: [409, 'the wish contradicts another object; the message names the holder'],
  WEFT_IN_USE: [409, 'the object is used by others; the message names them'],
  WEFT_EXHAUSTED: [409, 'no free value is left in the pool'],
  WEFT_GONE: [410, 'the revision asked for was compacted; start again from a full list'],
  WEFT_STALE_REVISION: [412, 'the object changed since the revision given in If-Match'],
  WEFT_TOO_LARGE: [413, 'the body is larger than the limit'],
  WEFT_NETLINK: [500, 'the kernel refused an operation'],
  WEFT_COMMAND: [500, 'a program that weft runs failed'],
  WEFT_INTERNAL: [500, 'a defect in weft; restarting the agent is safe by design'],
  WEFT_NOT_SUPPORTED: [501, 'weft does not do this (yet)'],
  WEFT_KERNEL_MISSING: [501, 'the kernel lacks a feature this needs'],
  WEFT_PRIVILEGE: [501, 'the agent lacks a capability it needs'],
  WEFT_UNAVAILABLE: [503, 'the agent, its store or its resolver cannot be reached'],
  WEFT_TIMEOUT: [504, 'the time given was up before the state was reached'],
} as const satisfies Record<string, readonly [status: number, meaning: string]>;

export type ErrorCode = keyof typeof ERRORS;

/** The shape in which an error crosses the socket: `{"error": {...}}`. */
export interface ErrorBody {
  code: ErrorCode;
  message: string;
  hint?: string | undefined;
  details?: Record<string, unknown> | undefined;
}

/** What, why and the remedy. `message` says what and why in one sentence, `hint` what to do about it. */
export class WeftError extends Error {
  override readonly name = 'WeftError';
  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly hint?: string,
    readonly details?: Record<string, unknown>,
  ) {
    super(message);
  }

  /** HTTP status that goes with the code. */
  get status(): number {
    return ERRORS[this.code][0];
  }

  toBody(): ErrorBody {
    const body: ErrorBody = { code: this.code, message: this.message };
    if (this.hint !== undefined) body.hint = this.hint;
    if (this.details !== undefined) body.details = this.details;
    return body;
  }
}

/** The code of anything thrown, or undefined where it is no WeftError. */
export function codeOf(error: unknown): ErrorCode | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' && Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : undefined;
}

/** Any thrown value as a WeftError: what is not one of ours is a defect and says so. */
export function toWeftError(error: unknown): WeftError {
  if (error instanceof WeftError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new WeftError('WEFT_INTERNAL', message, 'please report this with the log of the agent');
}
