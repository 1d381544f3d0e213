import test, { type ExecutionContext } from 'ava';
import { codeOf } from '../../src/base/errors.js';
import { StoreRig } from '../support/store.js';

/** Service `web` publishes 8080 into the mesh, `own` 9090 in mode host with backend c1; sandbox c2 has 7000-7010. */
function world(t: ExecutionContext): StoreRig {
  const rig = new StoreRig(t).app();
  rig.put('networks', 'ingress', { subnets: ['10.0.0.0/24'], vni: 4096, ingress: true });
  const service = (n: number, publish: object[]) => ({ networks: ['app'], vips: { app: [`10.20.0.${n}`] }, publish });
  rig.put('services', 'web', service(200, [{ published: 8080, target: 80 }]));
  rig.put('services', 'own', service(201, [{ published: 9090, target: 90, mode: 'host' }]));
  rig.put('sandboxes', 'c2', { ports: [{ published: 7000, publishedEnd: 7010, target: 80 }] });
  rig.put('endpoints', 'c1:app', { addresses: ['10.20.0.11'], service: 'own' });
  return rig;
}

const service = (...publish: object[]) => ({ networks: ['app'], vips: { app: ['10.20.0.210'] }, publish });
const sandbox = (...ports: object[]) => ({ ports });

const CASES: [what: string, table: 'sandboxes' | 'services', body: object, code?: string, message?: RegExp][] = [
  ['a port', 'sandboxes', sandbox({ published: 80, target: 80 })],
  ['a port without number', 'sandboxes', sandbox({ target: 80 })],
  ['mode ingress for a sandbox', 'sandboxes', sandbox({ target: 80, mode: 'ingress' }), 'WEFT_INVALID_ARGUMENT'],
  [
    'the mesh’s port',
    'sandboxes',
    sandbox({ published: 8080, target: 1 }),
    'WEFT_CONFLICT',
    /published by service "web"/,
  ],
  [
    'that port of one address',
    'sandboxes',
    sandbox({ published: 8080, target: 1, hostIp: '10.9.9.9' }),
    'WEFT_CONFLICT',
  ],
  ['that port by another protocol', 'sandboxes', sandbox({ published: 8080, target: 1, proto: 'sctp' })],
  [
    'the port of a backend here',
    'sandboxes',
    sandbox({ published: 9090, target: 1 }),
    'WEFT_CONFLICT',
    /service "own"/,
  ],
  ['a port of a range', 'sandboxes', sandbox({ published: 7005, target: 1 }), 'WEFT_CONFLICT', /by sandbox "c2"/],
  [
    'one number on two addresses',
    'sandboxes',
    sandbox({ published: 81, target: 1, hostIp: '10.9.9.9' }, { published: 81, target: 2, hostIp: '10.9.9.8' }),
  ],
  [
    'all addresses and one of them',
    'sandboxes',
    sandbox({ published: 81, target: 1 }, { published: 81, target: 2, hostIp: 'fd00::1' }),
    'WEFT_CONFLICT',
  ],
  [
    'all addresses of each family',
    'sandboxes',
    sandbox({ published: 81, target: 1, hostIp: '0.0.0.0' }, { published: 81, target: 2, hostIp: '::' }),
  ],
  [
    '::1',
    'sandboxes',
    sandbox({ published: 81, target: 1, hostIp: '::1' }),
    'WEFT_INVALID_ADDRESS',
    /127\.0\.0\.1|::1/,
  ],
  ['a range without first port', 'sandboxes', sandbox({ publishedEnd: 90, target: 1 }), 'WEFT_INVALID_PORT'],
  ['targets past the end', 'sandboxes', sandbox({ published: 1, publishedEnd: 9, target: 65530 }), 'WEFT_INVALID_PORT'],
  [
    'a source that is no prefix',
    'sandboxes',
    sandbox({ published: 1, target: 1, allow: ['x'] }),
    'WEFT_INVALID_SUBNET',
  ],

  ['mode host, without backends here', 'services', service({ published: 9090, target: 1, mode: 'host' })],
  [
    'mode host over the mesh’s port',
    'services',
    service({ published: 8080, target: 1, mode: 'host' }),
    'WEFT_CONFLICT',
  ],
  ['the mesh over a port of mode host', 'services', service({ published: 9090, target: 1 }), 'WEFT_CONFLICT', /"own"/],
  ['the mesh over a sandbox’s port', 'services', service({ published: 7000, target: 1 }), 'WEFT_CONFLICT', /"c2"/],
  ['one address in the mesh', 'services', service({ published: 81, target: 1, hostIp: '10.9.9.9' })],
];

for (const [what, table, body, code, message] of CASES) {
  test(`${what}: ${code ?? 'fine'}`, (t) => {
    const rig = world(t);
    const { revision } = rig.store;
    const put = () => rig.put(table, table === 'services' ? 'api' : 'c1', body);
    if (code === undefined) {
      t.notThrows(put);
      return;
    }
    const error = t.throws(put);
    t.is(codeOf(error), code as never, error.message);
    if (message) t.regex(error.message, message);
    t.is(rig.store.revision, revision, 'nothing changed');
  });
}

test('mode host needs no ingress network', (t) => {
  const rig = new StoreRig(t).app();
  t.notThrows(() => rig.put('services', 'api', service({ published: 81, target: 1, mode: 'host' })));
});

test('a second backend here of a service with a fixed port is refused, and says what helps', (t) => {
  const rig = world(t);
  const second = () => rig.put('endpoints', 'c2:app', { addresses: ['10.20.0.12'], service: 'own' });
  const error = t.throws(second);
  t.is(codeOf(error), 'WEFT_CONFLICT');
  t.is(
    error.message,
    'port 9090/tcp of service "own" (mode=host) leads to sandbox "c1" on this node and cannot lead to "c2" too',
  );
  rig.put('endpoints', 'c1:app', { addresses: ['10.20.0.11'], service: 'own', state: 'draining' });
  t.notThrows(second, 'one that drains makes way');
  rig.put('endpoints', 'c2:app', { addresses: ['10.20.0.12'] });
  rig.put('endpoints', 'c1:app', { addresses: ['10.20.0.11'], service: 'own' });
  rig.put('services', 'own', { ...service({ target: 90, mode: 'host' }), vips: { app: ['10.20.0.201'] } });
  t.notThrows(second, 'without a number each gets one');
});

test('a service whose backends here would want one port is refused', (t) => {
  const rig = world(t);
  rig.put('services', 'own', { ...service(), vips: { app: ['10.20.0.201'] } });
  rig.put('endpoints', 'c2:app', { addresses: ['10.20.0.12'], service: 'own' });
  const fixed = { ...service({ published: 9090, target: 1, mode: 'host' }), vips: { app: ['10.20.0.201'] } };
  t.throws(() => rig.put('services', 'own', fixed), { message: /leads to sandbox "c1" on this node/ });
});

test('a number that was chosen is taken', (t) => {
  const rig = world(t);
  rig.put('sandboxes', 'c1', sandbox({ target: 80 }));
  rig.store.number('port', 'c1/sandbox/c1/tcp/*/80', 32768);
  const clash = () => rig.put('services', 'api', service({ published: 32768, target: 1 }));
  t.throws(clash, { message: 'port 32768/tcp is published by sandbox "c1"' });
});
