import { request as httpRequest } from 'node:http';
import { createInterface } from 'node:readline';
import { type ErrorBody, WeftError } from '../base/errors.js';

/** Talks to an agent over its unix socket. */
export class ApiClient {
  constructor(readonly socket: string) {}

  get<T = unknown>(path: string): Promise<T> {
    return this.#json<T>('GET', path);
  }
  put<T = unknown>(path: string, body: unknown): Promise<T> {
    return this.#json<T>('PUT', path, JSON.stringify(body));
  }
  post<T = unknown>(path: string, body = ''): Promise<T> {
    return this.#json<T>('POST', path, body);
  }
  delete<T = unknown>(path: string): Promise<T> {
    return this.#json<T>('DELETE', path);
  }

  /** Lines of an NDJSON stream, until it or the reader ends. */
  async *lines(path: string): AsyncGenerator<string> {
    const response = await this.#send('GET', path);
    if ((response.statusCode ?? 500) >= 400) throw await failure(response);
    try {
      for await (const line of createInterface({ input: response })) yield line;
    } finally {
      // A reader that has enough hangs up; else the agent would go on writing to nobody.
      response.destroy();
    }
  }

  async #json<T>(method: string, path: string, body?: string): Promise<T> {
    const response = await this.#send(method, path, body);
    if ((response.statusCode ?? 500) >= 400 && response.headers['content-type'] === 'application/json') {
      const parsed = JSON.parse(await whole(response)) as { error?: ErrorBody };
      if (parsed.error) throw fromBody(parsed.error);
      return parsed as T;
    }
    return JSON.parse(await whole(response)) as T;
  }

  #send(method: string, path: string, body?: string): Promise<import('node:http').IncomingMessage> {
    return new Promise((resolve, reject) => {
      const request = httpRequest({ socketPath: this.socket, method, path }, resolve);
      request.on('error', (error) => reject(this.#unreachable(error as NodeJS.ErrnoException)));
      request.end(body);
    });
  }

  #unreachable(error: NodeJS.ErrnoException): WeftError {
    const why = error.code === 'EACCES' ? 'permission denied' : error.message;
    const hint =
      error.code === 'EACCES'
        ? 'run as root or join the group weft'
        : 'is weftd running? --socket or WEFT_SOCKET says where';
    return new WeftError('WEFT_UNAVAILABLE', `no agent answers on ${this.socket}: ${why}`, hint);
  }
}

async function whole(response: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

async function failure(response: AsyncIterable<Buffer>): Promise<WeftError> {
  const { error } = JSON.parse(await whole(response)) as { error: ErrorBody };
  return fromBody(error);
}

const fromBody = (body: ErrorBody): WeftError => new WeftError(body.code, body.message, body.hint, body.details);
