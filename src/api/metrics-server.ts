import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { WeftError } from '../base/errors.js';
import { send, sendError } from './http.js';
import { PROMETHEUS_TEXT } from './stats.js';

/** Where to listen; without a host on all addresses. */
export interface HostPort {
  host?: string;
  port: number;
}

/** Answers `GET /metrics` on TCP, and nothing else: the API is for those who may open the socket. */
export class MetricsServer {
  #server: Server | undefined;

  constructor(
    readonly at: HostPort,
    readonly text: () => Promise<string>,
    readonly onDefect: (error: WeftError, request: string) => void,
  ) {}

  /** @throws WEFT_CONFLICT where the address cannot be had */
  async listen(): Promise<void> {
    const server = createServer((request, response) => void this.#serve(request, response));
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => {
        const { host = '', port } = this.at;
        reject(new WeftError('WEFT_CONFLICT', `cannot serve metrics: ${error.message}`, `is ${host}:${port} in use?`));
      });
      server.listen(this.at, () => resolve());
    });
    this.#server = server;
  }

  async close(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    server.closeAllConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const path = (request.url ?? '').split('?')[0];
      if (path !== '/metrics') throw new WeftError('WEFT_NOT_FOUND', `there is no ${path}`, 'GET /metrics');
      if (request.method !== 'GET')
        throw new WeftError('WEFT_METHOD_NOT_ALLOWED', `/metrics does not take ${request.method}`, 'use GET');
      send(response, { text: await this.text(), type: PROMETHEUS_TEXT });
    } catch (thrown) {
      const error = sendError(response, thrown);
      if (error.status === 500) this.onDefect(error, `${request.method} ${request.url}`);
      request.resume();
    }
  }
}
