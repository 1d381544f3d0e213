import { EventEmitter } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import type { AgentEvent, AgentPort } from '../../src/api/agent.js';
import { ApiClient } from '../../src/api/client.js';
import { MAX_BODY } from '../../src/api/http.js';
import { type Route, route } from '../../src/api/router.js';
import { allRoutes } from '../../src/api/routes.js';
import { ApiServer } from '../../src/api/server.js';
import { codeOf, WeftError } from '../../src/base/errors.js';
import { FakeKernel } from '../../src/kernel/fake/kernel.js';
import { NODE_NS } from '../../src/objects/kind.js';
import { KINDS } from '../../src/objects/registry.js';
import { Desired, Dirt } from '../../src/reconcile/desired.js';
import { Loop } from '../../src/reconcile/loop.js';
import { NO_SURROUNDINGS } from '../../src/state/surroundings.js';
import { StoreRig } from '../support/store.js';

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Record<string, unknown>;
  text: string;
}

/** An agent with a real store and a loop over a fake kernel, behind a real socket. */
class ApiRig {
  readonly dir = mkdtempSync(join(tmpdir(), 'weft-api-'));
  readonly socket = join(this.dir, 'weft.sock');
  readonly client = new ApiClient(this.socket);
  readonly rig: StoreRig;
  readonly kernel = new FakeKernel();
  readonly loop = new Loop(this.kernel, new Desired(KINDS), () => undefined);
  readonly listeners = new Set<(event: AgentEvent) => void>();
  readonly defects: string[] = [];
  /** What the resolver knows, and that it knows more. */
  toldRevision = Number.POSITIVE_INFINITY;
  readonly told = new EventEmitter();
  readonly server: ApiServer;

  constructor(t: ExecutionContext) {
    this.rig = new StoreRig(t);
    this.server = new ApiServer(this.socket, allRoutes(this.agent()), (error, request) =>
      this.defects.push(`${request}: ${error.message}`),
    );
    t.teardown(async () => {
      await this.server.close();
      await this.loop.stop();
      rmSync(this.dir, { recursive: true, force: true });
    });
  }

  /** What the routes under test ask of an agent; the rest is the kernel lane's. */
  agent(): AgentPort {
    const stub: Partial<AgentPort> = {
      store: this.rig.store,
      loop: this.loop,
      statusOf: (stored) => ({
        phase: this.loop.appliedRevision >= stored.revision ? 'ready' : 'pending',
        revision: stored.revision,
        since: '',
      }),
      names: {
        list: async () => [],
        query: () => Promise.reject(new WeftError('WEFT_NOT_FOUND', 'nobody is there')),
        isTold: (revision) => this.toldRevision >= revision,
        onTold: (listener) => {
          this.told.on('told', listener);
          return () => this.told.off('told', listener);
        },
      },
      surroundings: async () => NO_SURROUNDINGS,
      locationOf: (sandbox) => ({ path: `/run/${sandbox}`, files: `/run/files/${sandbox}` }),
      summary: async () => ({ node: 'n1', pid: 4711 }),
      inspectable: () => ['fdb'],
      inspect: async () => ({ items: [] }),
      events: {
        since: (revision) =>
          [1, 2, 3]
            .filter((n) => n > revision)
            .map((n) => ({ revision: n, time: '', type: 'change', message: `${n}` })),
        listen: (listener) => {
          this.listeners.add(listener);
          return () => this.listeners.delete(listener);
        },
      },
    };
    return stub as AgentPort;
  }

  async up(): Promise<this> {
    await this.server.listen();
    return this;
  }

  send(
    method: string,
    path: string,
    body: string | Buffer = '',
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const request = httpRequest({ socketPath: this.socket, method, path, headers }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          const json = response.headers['content-type'] === 'application/json';
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: json ? JSON.parse(text) : {},
            text,
          });
        });
      });
      request.on('error', reject);
      request.end(body);
    });
  }

  async error(
    method: string,
    path: string,
    body: string | Buffer = '',
    headers: Record<string, string> = {},
  ): Promise<string> {
    const { status, body: answer } = await this.send(method, path, body, headers);
    const { code, message } = answer.error as { code: string; message: string };
    return `${status} ${code}: ${message}`;
  }
}

const up = (t: ExecutionContext): Promise<ApiRig> => new ApiRig(t).up();
const NET = JSON.stringify({ subnets: ['10.20.0.0/24'], vni: 4097 });

test('router: parameters are decoded, paths and methods that are not there are told apart', (t) => {
  const run: Route['run'] = () => ({ body: {} });
  const at = (method: Route['method'], path: string): Route => ({ method, path, summary: '', run });
  const routes = [at('GET', '/v1/peers/:id'), at('PUT', '/v1/peers/:id'), at('GET', '/v1/peers')];
  t.deepEqual(route(routes, 'PUT', '/v1/peers/n2%2Fx%3Aapp').params, { id: 'n2/x:app' });
  t.is(route(routes, 'GET', '/v1/peers/').route.path, '/v1/peers');
  t.is(codeOf(t.throws(() => route(routes, 'GET', '/v1/pears'))), 'WEFT_NOT_FOUND');
  const error = t.throws(() => route(routes, 'POST', '/v1/peers/x')) as WeftError;
  t.is(`${error.code} ${error.hint}`, 'WEFT_METHOD_NOT_ALLOWED use GET or PUT');
  t.is(codeOf(t.throws(() => route(routes, 'GET', '/v1/peers/%zz'))), 'WEFT_INVALID_ARGUMENT');
});

test('PUT, GET, list, DELETE: 201 then 200, an ETag, a status, a revision', async (t) => {
  const api = await up(t);
  const made = await api.send('PUT', '/v1/networks/app', NET);
  t.is(made.status, 201);
  t.like(made.body, {
    id: 'app',
    vni: 4097,
    gateways: ['10.20.0.1'],
    origin: 'api',
    revision: 1,
    status: { phase: 'pending' },
  });
  t.is(made.headers.etag, '"1"');
  t.is((await api.send('PUT', '/v1/networks/app', NET)).status, 200);
  t.deepEqual((await api.send('GET', '/v1/networks/app')).body, made.body);
  t.like((await api.send('GET', '/v1/networks')).body, { revision: 1, items: [{ id: 'app' }] });
  t.deepEqual((await api.send('DELETE', '/v1/networks/app')).body, { id: 'app', revision: 2 });
  t.is((await api.send('GET', '/v1/networks/app')).status, 404);
  t.deepEqual(api.defects, []);
});

test('errors have a status, a code, a message and a hint', async (t) => {
  const api = await up(t);
  const { status, body } = await api.send('PUT', '/v1/networks/app', JSON.stringify({ subnets: ['10.20.0.9/24'] }));
  t.is(status, 400);
  t.like(body.error, { code: 'WEFT_INVALID_SUBNET', hint: 'write 10.20.0.0/24' });
  t.regex((body.error as { message: string }).message, /^network "app", subnets\.0: /);
  t.is(await api.error('GET', '/v1/nothing'), '404 WEFT_NOT_FOUND: there is no /v1/nothing');
  t.regex(await api.error('PATCH', '/v1/networks/app'), /^405 WEFT_METHOD_NOT_ALLOWED/);
  t.regex(await api.error('GET', '/v1/networks/nope'), /^404 WEFT_NOT_FOUND: there is no network "nope"/);
  t.regex(await api.error('DELETE', '/v1/endpoints/a:b'), /^404 /);
  t.regex(await api.error('GET', '/v1/inspect/nothing'), /^404 .*"nothing"/);
  t.regex(await api.error('PUT', '/v1/networks/%zz', NET), /^400 /);
  t.deepEqual(api.defects, []);
});

test('what is no path is refused as input, not told as a defect', async (t) => {
  const api = await up(t);
  for (const target of ['//', '//host/v1/status', '*', 'http://[', '/v1/../../etc/passwd']) {
    const head = await new Promise<string>((resolve, reject) => {
      const raw = connect(api.socket, () =>
        raw.write(`GET ${target} HTTP/1.1\r\nHost: weft\r\nConnection: close\r\n\r\n`),
      );
      let text = '';
      raw.on('data', (chunk) => (text += String(chunk)));
      raw.on('end', () => resolve(text.split('\r\n')[0] ?? ''));
      raw.on('error', reject);
    });
    t.regex(head, /^HTTP\/1\.1 40[04] /, target);
  }
  t.deepEqual(api.defects, []);
});

test('a body that is no JSON, or JSON of another shape, is refused', async (t) => {
  const api = await up(t);
  t.regex(await api.error('PUT', '/v1/networks/app', '{'), /^400 WEFT_INVALID_ARGUMENT: the body is not JSON/);
  for (const body of ['[]', '7', 'null', '"text"'])
    t.regex(await api.error('PUT', '/v1/networks/app', body), /^400 /, body);
  t.regex(await api.error('PUT', '/v1/wish', '[]'), /^400 .*an object of tables/);
  t.regex(await api.error('PUT', '/v1/wish', '{"cars":{}}'), /^400 .*unknown table "cars"/);
  t.regex(await api.error('PUT', '/v1/wish', '{"networks":[]}'), /^400 /);
  t.is(api.rig.store.revision, 0);
});

test('a body above the limit is answered with 413, and the connection serves on', async (t) => {
  const api = await up(t);
  const large = Buffer.alloc(MAX_BODY + 1, 0x20);
  t.regex(await api.error('PUT', '/v1/networks/app', large), /^413 WEFT_TOO_LARGE/);
  t.regex(await api.error('PUT', '/v1/networks/app', large, { 'transfer-encoding': 'chunked' }), /^413 /);
  t.is(
    (
      await api.send(
        'PUT',
        '/v1/networks/app',
        Buffer.concat([large.subarray(0, MAX_BODY - NET.length), Buffer.from(NET)]),
      )
    ).status,
    201,
  );
});

test('If-Match: 412 when stale, 400 when it is no revision', async (t) => {
  const api = await up(t);
  await api.send('PUT', '/v1/sandboxes/c1', '{"hostname":"a"}');
  const put = (match: string, hostname: string) =>
    api.send('PUT', '/v1/sandboxes/c1', JSON.stringify({ hostname }), { 'if-match': match });
  t.is((await put('"1"', 'b')).status, 200);
  t.is((await put('1', 'c')).status, 412);
  t.is((await put('2', 'c')).status, 200);
  t.is((await put('W/"x"', 'd')).status, 400);
  t.is((await api.send('DELETE', '/v1/sandboxes/c1', '', { 'if-match': '1' })).status, 412);
  t.is((await api.send('DELETE', '/v1/sandboxes/c1', '', { 'if-match': '3' })).status, 200);
});

test('wait=applied answers when a pass has applied it, or with 504 when the time is up', async (t) => {
  const api = await up(t);
  api.rig.store.on('change', () => {
    setTimeout(() => {
      api.loop.appliedRevision = api.rig.store.revision;
      api.loop.emit(
        'pass',
        { done: [], failed: [], unread: [], held: [], clashes: [], kept: 0, looked: new Dirt(), again: new Dirt() },
        new Set(),
      );
    }, 50);
  });
  t.like((await api.send('PUT', '/v1/sandboxes/c1?wait=applied', '{}')).body, { status: { phase: 'ready' } });
  api.rig.store.removeAllListeners('change');
  t.regex(
    await api.error('PUT', '/v1/sandboxes/c2?wait=applied&timeoutMs=30', '{}'),
    /^504 WEFT_TIMEOUT: not applied within 30 ms/,
  );
  t.regex(await api.error('PUT', '/v1/sandboxes/c2?wait=soon', '{}'), /^400 .*wait="soon"/);
  t.regex(await api.error('PUT', '/v1/sandboxes/c3?wait=applied&timeoutMs=x', '{}'), /^400 .*timeoutMs/);
  t.is(api.loop.listenerCount('pass'), 0);
});

/** An agent whose loop makes a namespace of every sandbox, in a kernel that refuses some. */
async function living(t: ExecutionContext, refused: (sandbox: string) => boolean): Promise<ApiRig> {
  const api = await up(t);
  const { loop } = api;
  api.kernel.refuse = (op) => (refused(op.key) ? new WeftError('WEFT_NETLINK', `EBUSY ${op.key}`) : undefined);
  await loop.start();
  api.rig.store.on('change', (mutations) => {
    const dirt = new Dirt();
    for (const { id, stored } of mutations) {
      const wanted = { ns: NODE_NS, kind: 'netns', object: { name: id }, because: '', owner: 'node' };
      loop.desired.set(id, stored ? [wanted] : [], dirt);
    }
    loop.wishRevision = api.rig.store.revision;
    loop.wake(dirt, 'wish');
  });
  return api;
}

test('what failed is not applied until it is there, whoever it belongs to; others do not wait for it', async (t) => {
  let refuse = true;
  const api = await living(t, (name) => refuse && name === 'c1');
  const wish = (name: string) => JSON.stringify({ sandboxes: { [name]: {} } });
  const put = (ms: number) => `/v1/wish?prune=false&wait=applied&timeoutMs=${ms}`;
  await api.send('PUT', '/v1/wish?prune=false', wish('c1'));
  while (!api.loop.obstacle(1)) await sleep(5);
  t.regex(await api.error('PUT', put(50), wish('c1')), /^504 WEFT_TIMEOUT: not applied within 50 ms: EBUSY c1/);
  t.is((await api.send('PUT', put(20_000), wish('c2'))).status, 200);
  const waiting = api.send('PUT', '/v1/sandboxes/c1?wait=applied&timeoutMs=20000', '{}');
  refuse = false;
  t.is((await waiting).status, 200);
  t.true(api.kernel.spaces.has('c1'));
});

test('a change is applied when the resolver knows of it', async (t) => {
  const api = await living(t, () => false);
  api.toldRevision = 0;
  await api.send('PUT', '/v1/sandboxes/c1', '{}');
  while (!api.loop.isApplied(1)) await sleep(5);
  t.regex(
    await api.error('PUT', '/v1/sandboxes/c1?wait=applied&timeoutMs=50', '{}'),
    /not applied within 50 ms: the resolver has not been told/,
  );
  const waiting = api.send('PUT', '/v1/sandboxes/c2?wait=applied&timeoutMs=20000', '{}');
  while (api.loop.appliedRevision < 2 || api.loop.isBusy) await sleep(5);
  api.toldRevision = api.rig.store.revision;
  api.told.emit('told');
  t.is((await waiting).status, 201);
  t.deepEqual([api.told.listenerCount('told'), api.loop.listenerCount('pass')], [0, 0]);
});

test('dryRun checks and changes nothing', async (t) => {
  const api = await up(t);
  t.is((await api.send('PUT', '/v1/networks/app?dryRun=true', NET)).status, 201);
  t.is((await api.send('GET', '/v1/networks/app')).status, 404);
  t.like((await api.send('PUT', '/v1/wish?dryRun=1', JSON.stringify({ sandboxes: { c1: {} } }))).body, {
    changes: [{ verb: 'put', object: 'sandbox/c1' }],
  });
  t.is(api.rig.store.revision, 0);
});

test('what is exported can be stated again and changes nothing', async (t) => {
  const api = await up(t);
  api.rig.app();
  api.rig.put('endpoints', 'c1:app');
  api.rig.put('services', 'web', { networks: ['app'] });
  api.rig.put('nodes', 'n2', { vtep: '192.168.72.1' });
  const exported = await api.send('GET', '/v1/export');
  t.deepEqual(Object.keys(exported.body).sort(), ['endpoints', 'networks', 'nodes', 'sandboxes', 'services']);
  const { body } = await api.send('PUT', '/v1/wish', exported.text);
  t.deepEqual(body.changes, []);
});

test('gossip: one body is one change; own rows are streamed as others take them', async (t) => {
  const api = await up(t);
  api.rig.app();
  api.rig.put('endpoints', 'c1:app', { addresses: ['10.20.0.11'], aliases: ['one'] });
  const { text, headers } = await api.send('GET', '/v1/gossip?follow=false');
  t.is(headers['content-type'], 'application/x-ndjson');
  const other = await up(t);
  const rows = text.replaceAll('"n1', '"n7');
  t.like((await other.send('POST', '/v1/gossip', rows)).body, { rows: 2, changed: 2 });
  t.like(other.rig.store.get('peers', 'n7/c1:app'), {
    node: 'n7',
    origin: 'gossip',
    spec: { address: '10.20.0.11', mac: '02:42:0a:14:00:0b', vtep: '192.168.71.1', aliases: ['one'] },
  });
  t.like((await other.send('POST', '/v1/gossip', rows)).body, { rows: 2, changed: 0 });
  const { revision } = api.rig.store;
  api.rig.put('sandboxes', 'c1', { hostname: 'host1' });
  const renamed = (await api.send('GET', `/v1/gossip?follow=false&since=${revision}`)).text.replaceAll('"n1', '"n7');
  t.like((await other.send('POST', '/v1/gossip', renamed)).body, { rows: 1, changed: 1 });
  t.like(other.rig.store.get('peers', 'n7/c1:app'), { spec: { aliases: ['host1', 'one'] } });
  t.regex(
    await other.error('POST', '/v1/gossip', `${rows}not json\n`),
    /^400 WEFT_INVALID_ARGUMENT: gossip line 3 is not JSON/,
  );
  t.regex(await api.error('GET', '/v1/gossip?since=99'), /^410 WEFT_GONE/);
});

test('gossip is followed: later changes of this node come as they happen, deletes too', async (t) => {
  const api = await up(t);
  api.rig.app();
  const rows: Record<string, unknown>[] = [];
  const stream = api.client.lines(`/v1/gossip?since=${api.rig.store.revision}`);
  const reading = (async () => {
    for await (const line of stream) if (rows.push(JSON.parse(line)) === 2) break;
  })();
  while (api.rig.store.listenerCount('change') === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  api.rig.put('endpoints', 'c1:app');
  api.rig.put('sandboxes', 'own-business');
  api.rig.store.remove('endpoints', 'c1:app');
  await reading;
  t.like(rows, [
    { table: 'peers', op: 'set', key: 'n1/c1:app' },
    { table: 'peers', op: 'delete', key: 'n1/c1:app' },
  ]);
  t.true((rows[1]?.ltime as number) > (rows[0]?.ltime as number), 'the delete is newer than the set');
});

test('what was heard of others is for them to take back: this node tells of its own alone', async (t) => {
  const api = await up(t);
  api.rig.app();
  const keys: string[] = [];
  const stream = api.client.lines(`/v1/gossip?since=${api.rig.store.revision}`);
  const reading = (async () => {
    for await (const line of stream) {
      const { table, op, key } = JSON.parse(line);
      if (keys.push(`${op} ${table} ${key}`) === 3) break;
    }
  })();
  while (api.rig.store.listenerCount('change') === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const heard = (key: string, ltime: number, n: number) => {
    const value = { networks: ['app'], vips: { app: [`10.20.0.20${n}`] } };
    return JSON.stringify({ table: 'services', op: 'set', key, node: 'n2', ltime, value });
  };
  const about = (op: string) => JSON.stringify({ table: 'services', op });
  await api.send('POST', '/v1/gossip', [heard('s1', 10, 1), heard('s2', 10, 2), heard('s3', 10, 3)].join('\n'));
  await api.send('POST', '/v1/gossip', '{"table":"services","op":"delete","key":"s1","node":"n2","ltime":11}');
  await api.send('POST', '/v1/gossip', [about('snapshot-begin'), heard('s3', 10, 3), about('snapshot-end')].join('\n'));
  t.deepEqual([...api.rig.store.wish.services.keys()], ['s3']);
  api.rig.put('services', 'mine', { networks: ['app'] });
  api.rig.store.clear();
  await reading;
  const own = ['set services mine', 'delete networks app', 'delete services mine'];
  t.deepEqual(keys.sort(), own.sort());
});

test('events resume after a revision, and are followed until the reader goes', async (t) => {
  const api = await up(t);
  const past = await api.send('GET', '/v1/events?since=1&follow=false');
  t.deepEqual(
    past.text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).revision),
    [2, 3],
  );
  const stream = api.client.lines('/v1/events?since=3');
  const next = stream.next();
  while (api.listeners.size === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  for (const listener of api.listeners) listener({ revision: 4, time: '', type: 'drift', message: 'x' });
  t.is(JSON.parse((await next).value as string).revision, 4);
  await stream.return(undefined);
  while (api.listeners.size > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  t.pass();
});

test('what a route throws that is no WeftError is a defect: 500, and told', async (t) => {
  const api = new ApiRig(t);
  const broken: Route = {
    method: 'GET',
    path: '/broken',
    summary: '',
    run: () => {
      throw new TypeError('x is undefined');
    },
  };
  (api.server.routes as Route[]).push(broken);
  await api.up();
  t.is(await api.error('GET', '/broken'), '500 WEFT_INTERNAL: x is undefined');
  t.deepEqual(api.defects, ['GET /broken: x is undefined']);
});

test('the OpenAPI document names every route and every schema it refers to', async (t) => {
  const api = await up(t);
  const { body, text } = await api.send('GET', '/v1/openapi.json');
  const { paths, components } = body as {
    paths: Record<string, Record<string, unknown>>;
    components: { schemas: Record<string, unknown> };
  };
  for (const { method, path } of api.server.routes)
    t.truthy(paths[path.replace(/:(\w+)/g, '{$1}')]?.[method.toLowerCase()], `${method} ${path}`);
  for (const [, name] of text.matchAll(/#\/components\/schemas\/(\w+)/g))
    t.truthy(components.schemas[name as string], name);
});

test('the socket: for its owner (and group) alone; a living agent’s is refused with who it is; a dead one’s replaced', async (t) => {
  const api = await up(t);
  t.is(statSync(api.socket).mode & 0o007, 0);
  const second = new ApiServer(api.socket, [], () => {});
  const error = (await t.throwsAsync(second.listen())) as WeftError;
  t.is(error.code, 'WEFT_CONFLICT');
  t.is(error.message, `another agent answers on ${api.socket}: node "n1", pid 4711`);
  t.is((await api.client.get<{ node: string }>('/v1/status')).node, 'n1', 'and goes on serving');
  const path = join(api.dir, 'file');
  writeFileSync(path, 'precious');
  t.regex(
    ((await t.throwsAsync(new ApiServer(path, [], () => {}).listen())) as WeftError).message,
    /exists and is no socket/,
  );
  t.true(existsSync(path));
});

test('the client: errors come as they were thrown, and an agent that is not there is named', async (t) => {
  const api = await up(t);
  const error = (await t.throwsAsync(api.client.put('/v1/networks/app', { subnets: ['10.0.0.1/8'] }))) as WeftError;
  t.true(error instanceof WeftError);
  t.is(`${error.code} ${error.hint}`, 'WEFT_INVALID_SUBNET write 10.0.0.0/8');
  t.truthy(error.details?.issues);
  const nowhere = (await t.throwsAsync(new ApiClient(join(api.dir, 'none.sock')).get('/v1/status'))) as WeftError;
  t.is(nowhere.code, 'WEFT_UNAVAILABLE');
  t.regex(nowhere.message, /none\.sock/);
});
