import test, { type ExecutionContext } from 'ava';
import { localBackends, publishedFrontends } from '../../src/balance/backends.js';
import { codeOf } from '../../src/base/errors.js';
import type { Family } from '../../src/base/ip.js';
import { parsePublish } from '../../src/commands/publish.js';
import { contended, meshNumber, meshPorts } from '../../src/model/published.js';
import { type PublishedPort, publishSpec } from '../../src/model/service.js';
import { produce } from '../../src/network/produce.js';
import { meshTranslations } from '../../src/network/rules/ingress.js';
import type { IptablesObject } from '../../src/objects/iptables.js';
import { StoreRig } from '../support/store.js';
import { plainWorld } from '../support/world.js';

const port = (p: object) => publishSpec.parse({ target: 80, ...p });
const OWN = '10.0.0.101';
const here = { hostIp: '192.0.2.1', published: 8080 };
const there = { hostIp: '192.0.2.2', published: 8080 };

function rig(t: ExecutionContext): StoreRig {
  const made = new StoreRig(t).app();
  made.put('networks', 'ingress', { subnets: ['10.0.0.0/24'], vni: 4096, ingress: true });
  return made;
}
const service = (n: number, publish: object[], more: object = {}) => ({
  networks: ['app'],
  vips: { app: [`10.20.0.${n}`] },
  publish,
  ...more,
});

/** Rules of a chain of a producer. */
function rules(r: StoreRig, producer: string, chain: string, of: Family = 4): readonly string[] {
  const gateway = {
    4: { subnet: '172.31.0.0/16', address: '172.31.0.1' },
    6: { subnet: 'fd87::/64', address: 'fd87::1' },
  };
  const objects = produce(plainWorld(r.store.wish, { gateway }), producer).map((w) => w.object as IptablesObject);
  return objects.flatMap((o) => (o.what === 'chain' && o.family === of && o.chain === chain ? o.rules : []));
}

test('a port has its own number on the ingress network, but where it is published on one address', (t) => {
  t.is(meshNumber(port({ published: 8080 })), 8080);
  t.is(meshNumber(port({ published: 8080, hostIp: '0.0.0.0' })), 8080);
  const [one, other] = [meshNumber(port(here)), meshNumber(port(there))];
  t.not(one, other, 'two addresses are two numbers');
  t.is(one, meshNumber(port(here)), 'the same on every node');
  t.not(one, meshNumber(port({ ...here, proto: 'udp' })));
  for (let published = 1; published <= 65535; published += 777) {
    const first = meshNumber(port({ hostIp: '192.0.2.1', published, publishedEnd: 65535 }));
    t.true(first >= 1 && first + 65535 - published <= 65535, `range from ${published}`);
    t.true(meshNumber(port({ hostIp: '192.0.2.1', published })) >= 32768);
  }
});

test('the rules of a port: address, range, sources', (t) => {
  const n = meshNumber(port(here));
  t.deepEqual(meshTranslations(port(here), 4, OWN), [
    `-d 192.0.2.1/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination ${OWN}:${n}`,
  ]);
  t.deepEqual(meshTranslations(port(here), 6, 'fd00::1'), [], 'an address is of one family');
  t.deepEqual(meshTranslations(port({ published: 9000, publishedEnd: 9002 }), 4, OWN), [
    `-p tcp -m tcp --dport 9000:9002 -j DNAT --to-destination ${OWN}`,
  ]);
  const range = port({ ...here, publishedEnd: 8082, proto: 'sctp' });
  const first = meshNumber(range);
  t.deepEqual(meshTranslations(range, 4, OWN), [
    `-d 192.0.2.1/32 -p sctp -m sctp --dport 8080:8082 -j DNAT --to-destination ${OWN}:${first}-${first + 2}/8080`,
  ]);
  const allow = ['198.51.100.0/24', '2001:db8::/32'];
  t.deepEqual(meshTranslations(port({ published: 443, allow }), 6, 'fd00::1'), [
    '-s 2001:db8::/32 -p tcp -m tcp --dport 443 -j DNAT --to-destination [fd00::1]:443',
  ]);
});

test('the task is reached at the numbers of the mesh', (t) => {
  const r = rig(t);
  r.put('services', 'web', service(200, [here, { ...there, target: 81 }].map(port)));
  r.put('endpoints', 'c1:ingress', { addresses: ['10.0.0.5'], service: 'web' });
  const numbers = [here, there].map((p) => meshNumber(port(p)));
  t.deepEqual(
    rules(r, 'sandbox/c1', 'WEFT-TASK-IN')
      .filter((rule) => rule.includes('--dport'))
      .map((rule) => /--dport (\d+) .*:(\d+)$/.exec(rule)?.slice(1)),
    [
      [`${numbers[0]}`, '80'],
      [`${numbers[1]}`, '81'],
    ],
  );
  t.deepEqual(
    publishedFrontends(OWN, meshPorts(r.store.wish).get('web') ?? []).map((f) => f.port?.number),
    numbers,
  );
});

test('a range is one rule in the task, as it is on the node', (t) => {
  const r = rig(t);
  const allow = ['198.51.100.0/24'];
  const publish = [
    port({ published: 9000, publishedEnd: 9999, target: 80, allow }),
    port({ published: 7000, publishedEnd: 7002, target: 7000, proto: 'udp' }),
  ];
  r.put('services', 'web', service(200, publish));
  r.put('endpoints', 'c1:ingress', { addresses: ['10.0.0.5'], service: 'web' });
  t.deepEqual(
    rules(r, 'sandbox/c1', 'WEFT-TASK-IN').filter((rule) => rule.includes('--dport')),
    [
      '-i eth0 -p tcp -m tcp --dport 9000:9999 -j DNAT --to-destination 172.31.0.2:80-1079/9000',
      '-i eth0 -p udp -m udp --dport 7000:7002 -j DNAT --to-destination 172.31.0.2',
    ],
  );
});

test('same number on another address or protocol is no conflict; on the same it is refused with the holder', (t) => {
  const r = rig(t);
  r.put('services', 'web', service(200, [port(here)]));
  r.put('services', 'shop', service(201, [port(there), port({ ...here, proto: 'udp' })]));
  const refused = (p: object) => codeOf(t.throws(() => r.put('services', 'x', service(202, [port(p)]))));
  t.is(refused(here), 'WEFT_CONFLICT');
  t.is(refused({ published: 8080 }), 'WEFT_CONFLICT', 'all addresses are that one too');
  t.throws(() => r.put('services', 'x', service(202, [port({ published: meshNumber(port(here)) })])), {
    message: /port \d+\/tcp and port 8080\/tcp of service "web" would be the same number on the ingress network/,
  });
  t.is(refused({ hostIp: 'fe80::1', published: 1 }), 'WEFT_INVALID_ADDRESS');
});

test('two addresses whose numbers would be the same are refused by name, of one service or of two', (t) => {
  const [one, other] = ['192.0.2.42', '192.0.2.154'].map((hostIp) => port({ hostIp, published: 8080 }));
  t.is(meshNumber(one as PublishedPort), meshNumber(other as PublishedPort), 'SHA-256 makes it so');
  const r = rig(t);
  const clash = {
    code: 'WEFT_CONFLICT',
    message: /^port 8080\/tcp and port 8080\/tcp of service "\w+" would be the same number on the ingress network$/,
  };
  t.throws(() => r.put('services', 'web', service(200, [one as object, other as object])), clash);
  r.put('services', 'web', service(200, [one as object]));
  t.throws(() => r.put('services', 'zoo', service(201, [other as object])), clash);
  const row = { table: 'services', op: 'set', node: 'n2', ltime: 9 };
  r.gossip({ ...row, key: 'zoo', value: service(201, [other as object]) });
  t.deepEqual([...meshPorts(r.store.wish).keys()], ['web'], 'no balancer is given the port twice');
  t.deepEqual(
    [...contended(r.store.wish, () => undefined)].map(([mine]) => mine.owner),
    ['service/zoo'],
  );
});

test('of two that gossip brings, the first by name has the port, and the other is told', (t) => {
  const r = rig(t);
  r.put('services', 'web', service(200, [port({ published: 8080 })]));
  const row = { table: 'services', op: 'set', node: 'n2', ltime: 9 };
  r.gossip({ ...row, key: 'zoo', value: service(203, [port({ published: 8080 }), port({ published: 8081 })]) });
  const lost = [...contended(r.store.wish, () => undefined)].map(([mine, its]) => [mine.owner, its.owner]);
  t.deepEqual(lost, [['service/zoo', 'service/web']]);
  t.deepEqual(
    meshPorts(r.store.wish)
      .get('zoo')
      ?.map((p) => p.published),
    [8081],
  );
});

test('policy local: tasks of this node, draining ones where there is no other', (t) => {
  const backend = (n: number, local: boolean, weight: number) => ({
    ip: `10.0.0.${n}`,
    id: n,
    mac: `02:42:0a:00:00:0${n}`,
    local,
    weight,
  });
  const [a, b, c] = [backend(1, true, 5), backend(2, true, 0), backend(3, false, 1)];
  t.deepEqual(localBackends([a, b, c]), [a, b]);
  t.deepEqual(localBackends([b, c]), [{ ...b, weight: 1 }]);
  t.deepEqual(localBackends([c]), []);
});

test('clientIp snat: the node for callers of its ports, the gateway of the network for those of the VIP', (t) => {
  const r = rig(t);
  r.put('nodes', 'n1', { vtep: plainWorld(r.store.wish).self.vtep, addresses: { ingress: [OWN] } });
  r.put('services', 'web', service(200, [port({ published: 8080 })], { clientIp: 'snat' }));
  r.put('endpoints', 'c1:app', { addresses: ['10.20.0.11'], service: 'web' });
  t.deepEqual(rules(r, 'sandbox/c1', 'WEFT-TASK-SOURCE'), [
    '-i eth0 -m conntrack --ctorigdst 10.20.0.200 -j SNAT --to-source 10.20.0.1',
  ]);
  const { self } = plainWorld(r.store.wish);
  t.true(rules(r, 'node', 'WEFT-POSTROUTING').includes(`-d ${OWN}/32 -o weft-in -j WEFT-HIDDEN`));
  t.deepEqual(rules(r, 'node', 'WEFT-HIDDEN'), [`-p tcp -m tcp --dport 8080 -j SNAT --to-source ${self.addresses[4]}`]);
  r.put('services', 'web', service(200, [port({ published: 8080 })]));
  t.deepEqual(rules(r, 'sandbox/c1', 'WEFT-TASK-SOURCE'), []);
});

test('who is not allowed hears nothing, but at ::1 everybody is refused', (t) => {
  const r = rig(t);
  const allow = ['2001:db8::/32'];
  r.put(
    'services',
    'web',
    service(200, [port({ published: 53, proto: 'udp', allow }), port({ published: 443, allow })]),
  );
  t.deepEqual(rules(r, 'node', 'WEFT-INPUT', 6), [
    '! -d ::1/128 -p udp -m udp --dport 53 -j DROP',
    '-p udp -m udp --dport 53 -j REJECT --reject-with icmp6-port-unreachable',
    '! -d ::1/128 -p tcp -m tcp --dport 443 -j DROP',
  ]);
  t.deepEqual(rules(r, 'node', 'WEFT-INPUT', 4), [
    '-p udp -m udp --dport 53 -j DROP',
    '-p tcp -m tcp --dport 443 -j DROP',
  ]);
});

test('a port of the command line', (t) => {
  const text = '[2001:db8::1]:9000-9002:80/sctp,policy=local,allow=2001:db8::/32,allow=10.0.0.0/8';
  t.deepEqual(parsePublish(text), {
    ...{ hostIp: '2001:db8::1', published: 9000, publishedEnd: 9002, target: 80, proto: 'sctp', policy: 'local' },
    allow: ['2001:db8::/32', '10.0.0.0/8'],
  });
  t.throws(() => parsePublish('80:80,policy'), { message: /"policy" is none of mode=…, policy=… and allow=CIDR/ });
});
