import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { probe } from '../../src/agent/health/probe.js';
import { loadNative } from '../../src/kernel/real/native.js';
import { type Health, healthSpec } from '../../src/model/health.js';
import { needs } from '../support/needs.js';

const HERE = '/proc/self/ns/net';

if (needs(t, ['root'])) {
  const native = loadNative();
  let port = 0;
  const server = createServer((request, response) => {
    if (request.url === '/mute') return;
    response.statusCode = Number((request.url ?? '').slice(1)) || 200;
    response.end('x'.repeat(100_000));
  });
  const how = (more: object): Health => healthSpec.parse({ type: 'http', port, ...more });
  const ask = (more: object, ip = '127.0.0.1', netns = HERE) => probe(native, netns, ip, how(more));

  t.before(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    port = (server.address() as AddressInfo).port;
  });
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });

  t.test('http: 200 to 399 is health', async () => {
    for (const path of ['/', '/204', '/301', '/399']) await ask({ path });
  });

  t.test('http: other answers, and none, are not', async (t) => {
    for (const code of ['400', '503']) {
      await t.rejects(ask({ path: `/${code}` }), { code: 'WEFT_UNAVAILABLE', message: `answered ${code}` });
    }
    await t.rejects(ask({ path: '/mute', timeout: 0.2 }), { message: /no answer within 0.2 s/ });
  });

  t.test('tcp: a connection is health, a refusal is not', async (t) => {
    await ask({ type: 'tcp' });
    await t.rejects(ask({ type: 'tcp', port: 1 }), { message: /^tcp 127.0.0.1:1: .*ECONNREFUSED/ });
  });

  t.test('a namespace that is gone is no health', async (t) => {
    await t.rejects(ask({ type: 'tcp' }, '127.0.0.1', '/run/netns/not-there'), {
      message: /no probe from its sandbox/,
    });
  });
}
