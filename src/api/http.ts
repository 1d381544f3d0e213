import type { IncomingMessage, ServerResponse } from 'node:http';
import { toWeftError, WeftError } from '../base/errors.js';

/** Largest body that is read whole. */
export const MAX_BODY = 32 * 1024 * 1024;

/** A request as a route sees it. */
export interface Request {
  method: string;
  /** Values of the `:name` parts of the route's path, decoded. */
  params: Record<string, string>;
  query: URLSearchParams;
  headers: IncomingMessage['headers'];
  raw: IncomingMessage;
}

/** What a route answers: a JSON value with a status, or a stream that it writes by itself. */
export type Reply =
  | { status?: number; body: unknown; headers?: Record<string, string> }
  | { text: string; type: string }
  | { stream: (response: ServerResponse) => void };

/** The body as JSON; an empty one is `{}`. @throws WEFT_INVALID_ARGUMENT, WEFT_TOO_LARGE */
export async function jsonBody(request: Request): Promise<unknown> {
  const chunks: Buffer[] = [];
  let length = 0;
  // A body that is refused half-way must leave the connection for the answer.
  for await (const chunk of request.raw.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_BODY) {
      throw new WeftError(
        'WEFT_TOO_LARGE',
        `the body is larger than ${MAX_BODY} bytes`,
        'send large sets as NDJSON to /v1/gossip',
      );
    }
    chunks.push(chunk);
  }
  if (length === 0) return {};
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (error) {
    throw new WeftError('WEFT_INVALID_ARGUMENT', `the body is not JSON: ${(error as Error).message}`);
  }
}

/** `If-Match: REVISION`, with or without quotes. @throws WEFT_INVALID_ARGUMENT */
export function ifMatch(request: Request): number | undefined {
  const header = request.headers['if-match'];
  if (header === undefined) return undefined;
  const text = header.replaceAll('"', '');
  if (!/^\d+$/.test(text)) throw new WeftError('WEFT_INVALID_ARGUMENT', `If-Match "${header}" is not a revision`);
  return Number(text);
}

/** A whole number from the query. @throws WEFT_INVALID_ARGUMENT */
export function numberParam(request: Request, name: string, fallback: number): number {
  const text = request.query.get(name);
  if (text === null) return fallback;
  if (!/^\d{1,15}$/.test(text)) throw new WeftError('WEFT_INVALID_ARGUMENT', `${name}="${text}" is not a whole number`);
  return Number(text);
}

export function flagParam(request: Request, name: string): boolean {
  const text = request.query.get(name);
  return text !== null && text !== 'false' && text !== '0';
}

export function send(response: ServerResponse, reply: Reply): void {
  if ('stream' in reply) {
    reply.stream(response);
    return;
  }
  if ('text' in reply) {
    response.writeHead(200, { 'content-type': reply.type }).end(reply.text);
    return;
  }
  const json = `${JSON.stringify(reply.body)}\n`;
  response.writeHead(reply.status ?? 200, { 'content-type': 'application/json', ...reply.headers }).end(json);
}

export function sendError(response: ServerResponse, thrown: unknown): WeftError {
  const error = toWeftError(thrown);
  if (response.headersSent) response.end(`${JSON.stringify({ error: error.toBody() })}\n`);
  else send(response, { status: error.status, body: { error: error.toBody() } });
  return error;
}
