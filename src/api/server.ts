import { chmodSync, chownSync, lstatSync, readFileSync, unlinkSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { WeftError } from '../base/errors.js';
import { ApiClient } from './client.js';
import { type Request, send, sendError } from './http.js';
import { type Route, route } from './router.js';

/** Serves routes on a unix socket, 0660 root:weft (0600 where there is no group weft). */
export class ApiServer {
  #server: Server | undefined;
  constructor(
    readonly path: string,
    readonly routes: readonly Route[],
    readonly onDefect: (error: WeftError, request: string) => void,
  ) {}

  /** @throws WEFT_CONFLICT when another agent answers on the socket. A dead agent's socket file is replaced. */
  async listen(): Promise<void> {
    await refuseLiving(this.path);
    const server = createServer((request, response) => void this.#serve(request, response));
    // Streams (events, gossip) live long; slow-loris protection is for strangers, and this socket has none.
    server.requestTimeout = 0;
    server.keepAliveTimeout = 60_000;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      const mask = process.umask(0o177);
      server.listen(this.path, () => resolve());
      process.umask(mask);
    });
    const gid = groupId('weft');
    if (gid !== undefined) {
      chownSync(this.path, 0, gid);
      chmodSync(this.path, 0o660);
    }
    this.#server = server;
  }

  async close(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    server.closeIdleConnections();
    setTimeout(() => server.closeAllConnections(), 500).unref();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  async #serve(raw: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const url = urlOf(raw);
      const method = raw.method ?? 'GET';
      const found = route(this.routes, method, url.pathname);
      const request: Request = { method, params: found.params, query: url.searchParams, headers: raw.headers, raw };
      send(response, await found.route.run(request));
    } catch (thrown) {
      const error = sendError(response, thrown);
      if (error.status === 500) this.onDefect(error, `${raw.method} ${raw.url}`);
      // What is left of a refused body is not worth reading.
      raw.resume();
    }
  }
}

function urlOf(raw: IncomingMessage): URL {
  const url = URL.canParse(`http://weft${raw.url}`) && new URL(`http://weft${raw.url}`);
  if (url && url.hostname === 'weft') return url;
  throw new WeftError('WEFT_INVALID_ARGUMENT', `"${raw.url}" is not a path`, 'paths begin with /v1/');
}

/**
 * Another agent answers there: two would undo each other's work. A dead one's socket file is removed.
 * @throws WEFT_CONFLICT
 */
export async function refuseLiving(path: string): Promise<void> {
  try {
    if (!lstatSync(path).isSocket())
      throw new WeftError('WEFT_CONFLICT', `${path} exists and is no socket`, 'give another --socket');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  const alive = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
  if (alive) {
    throw new WeftError(
      'WEFT_CONFLICT',
      `another agent answers on ${path}${await whoAnswers(path)}`,
      'stop it, or give this one its own --run-dir and --state-dir',
    );
  }
  unlinkSync(path);
}

/** Node and pid of the agent that answers there; '' where it does not say in time. */
async function whoAnswers(path: string): Promise<string> {
  const late = new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), 1000).unref());
  const status = new ApiClient(path).get<{ node?: unknown; pid?: unknown }>('/v1/status').catch(() => undefined);
  const found = await Promise.race([status, late]);
  return found?.node === undefined ? '' : `: node "${String(found.node)}", pid ${String(found.pid)}`;
}

function groupId(name: string): number | undefined {
  const line = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .find((l) => l.startsWith(`${name}:`));
  return line ? Number(line.split(':')[2]) : undefined;
}
