import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Lab, patient, until } from '../support/lab.js';
import { needs } from '../support/needs.js';
import { requestsIn, STRACE, writesIn } from '../support/strace.js';

interface Shown {
  id: string;
  addresses: string[];
  revision: number;
}

if (needs(t, ['root', 'veth', 'bridge', 'vxlan', 'ip', 'iptables'])) {
  t.setTimeout(patient(115_000));
  const lab = await Lab.up({ nodes: 1 });
  t.teardown(() => lab.down());
  const n1 = lab.node(1);
  const app = ['--subnet', '10.20.0.0/16', '--subnet', 'fd00:20::/64', '--vni', '4097'];
  const ranges = ['--ip-range', '10.20.1.0/24', '--ip-range', 'fd00:20::100/120'];
  await n1.must(
    'network',
    'create',
    'app',
    ...app,
    ...ranges,
    '--reserve',
    '10.20.1.4/30',
    '--aux-address',
    'rt=10.20.1.1',
  );
  const endpoints = async (): Promise<Shown[]> => (await n1.api.get<{ items: Shown[] }>('/v1/endpoints')).items;

  t.test('the commands that users of Docker know', { timeout: patient(40_000) }, async (t) => {
    await n1.must('network', 'create', 'idle', '--subnet', '10.30.0.0/24', '--vni', '4098');
    await n1.must('network', 'create', 'idle2', '--subnet', '10.31.0.0/24', '--vni', '4099');
    await n1.must('sandbox', 'create', 'c1');
    t.equal(await n1.must('connect', 'c1', 'app', '--wait'), '10.20.1.0 fd00:20::100\n');
    t.match(await n1.must('network', 'ls'), /^NAME +DRIVER +SCOPE +SUBNETS +VNI +ENDPOINTS +PHASE$/m);
    t.match(await n1.must('network', 'ls'), /^app +overlay +global +10\.20\.0\.0\/16,fd00:20::\/64 +4097 +1 +ready$/m);
    const shown = JSON.parse(await n1.must('network', 'inspect', 'app'));
    t.match(shown, {
      gateways: ['10.20.0.1', 'fd00:20::1'],
      reserved: ['10.20.1.4/30', '10.20.1.1'],
      counts: { endpoints: 1, services: 0, peers: 0 },
      endpoints: [{ id: 'c1:app', addresses: ['10.20.1.0', 'fd00:20::100'], mac: '02:42:0a:14:01:00' }],
      pools: [
        { range: '10.20.1.0/24', chosenHere: true, size: 256, used: 1, reserved: 5, free: 250 },
        { range: 'fd00:20::100/120', chosenHere: true, size: 256, used: 1, reserved: 0, free: 255 },
      ],
      status: { phase: 'ready' },
    });
    const refused = await n1.weft('network', 'rm', 'app', 'idle', 'nowhere');
    t.equal(refused.code, 1);
    t.equal(refused.stdout, 'idle\n', 'the others go all the same');
    t.match(refused.stderr.split('\n'), [
      /^weft: WEFT_IN_USE: network "app" has endpoints: c1:app \(weft disconnect SANDBOX app first\)$/,
      /^weft: WEFT_NOT_FOUND: there is no network "nowhere" \(weft network ls\)$/,
      '',
    ]);
    t.equal(await n1.must('network', 'prune', '--dry-run'), 'idle2\n');
    t.match(await n1.must('network', 'ls', '-o', 'name'), /idle2/);
    t.equal(await n1.must('network', 'prune'), 'idle2\n');
    t.equal(await n1.must('network', 'ls', '-o', 'name'), 'app\n');
    t.match((await n1.weft('network', 'inspect', 'nowhere')).stderr, /WEFT_NOT_FOUND.*weft network ls/);
    const { gatewaySubnet } = await n1.api.get<{ gatewaySubnet: string }>('/v1/status');
    const create = async (...options: string[]) => (await n1.weft('network', 'create', 'x', ...options)).stderr;
    t.match(
      await create('--subnet', gatewaySubnet, '--vni', '9'),
      /WEFT_CONFLICT: .* the subnet of the gateway bridge/,
    );
    t.match(await create('--vni', '9'), /WEFT_INVALID_ALLOCATION: .* may not choose its subnets/);
    const taken = await n1.weft('connect', 'c1', 'app', '--ip', '10.20.1.5');
    t.match(taken.stderr, /WEFT_CONFLICT: 10\.20\.1\.5 is reserved on network "app" \(10\.20\.1\.4\/30\)/);
  });

  t.test(
    'a bridge without subnet gets one off the node’s routes, and keeps it',
    { timeout: patient(40_000) },
    async (t) => {
      const subnets = async (name: string) => (await n1.api.get<{ subnets: string[] }>(`/v1/networks/${name}`)).subnets;
      const create = (name: string, ...options: string[]) =>
        n1.weft('network', 'create', name, '--driver', 'bridge', ...options, '--wait');
      await n1.exec('ip', 'route', 'add', '172.18.4.0/24', 'via', `192.168.${n1.subnet}.254`);
      t.equal((await create('nat')).code, 0);
      t.same(await subnets('nat'), ['172.17.0.0/16']);
      t.equal((await create('nat2')).code, 0);
      t.same(await subnets('nat2'), ['172.19.0.0/16']);
      await n1.must('connect', 'c1', 'nat');
      t.match(await n1.must('endpoint', 'ls'), /c1:nat +172\.17\.0\.2 /);
      t.match((await create('clash', '--subnet', '172.18.0.0/16')).stderr, /the node's route 172\.18\.4\.0\/24 dev u0/);
      t.match((await create('clash', '--subnet', '172.17.9.0/24')).stderr, /172\.17\.0\.0\/16 of network "nat"/);
      const { revision } = await n1.api.get<{ revision: number }>('/v1/status');
      // By now the bridges themselves have routes to their subnets.
      t.equal((await create('nat')).code, 0);
      await n1.restart();
      t.equal((await create('nat2')).code, 0);
      t.equal((await n1.api.get<{ revision: number }>('/v1/status')).revision, revision);
      await n1.must('disconnect', 'c1', 'nat');
      await n1.must('network', 'rm', 'nat', 'nat2', '--wait');
    },
  );

  t.test('a pool that runs out says so before it is empty', { timeout: patient(40_000) }, async (t) => {
    const small = ['--subnet', '10.40.0.0/24', '--vni', '4100', '--ip-range', '10.40.0.16/28'];
    await n1.must('network', 'create', 'small', ...small);
    const connect = (i: number) => n1.api.put<Shown>(`/v1/endpoints/s${i}:small`, {});
    const status = async () =>
      (await n1.api.get<{ status: { warnings?: string[] } }>('/v1/networks/small')).status.warnings;
    for (let i = 0; i < 17; i++) await n1.api.put(`/v1/sandboxes/s${i}`, {});
    for (let i = 0; i < 14; i++) await connect(i);
    t.equal(await status(), undefined);
    await connect(14);
    t.same(await status(), ['15 of 16 usable addresses of 10.40.0.16/28 are taken, 1 free']);
    t.match(await n1.must('status'), /^warning +network\/small: 15 of 16 usable addresses/m);
    await connect(15);
    await t.rejects(connect(16), { code: 'WEFT_EXHAUSTED', hint: /ip-range/ });
    const told = (await n1.events()).filter((e) => e.object === 'network/small' && e.type !== 'change');
    t.match(told, [{ type: 'trouble', message: /15 of 16 usable addresses/ }]);
    for (let i = 0; i < 4; i++) await n1.api.delete(`/v1/endpoints/s${i}:small`);
    t.equal(await status(), undefined);
    t.same(
      (await n1.events()).filter((e) => e.type === 'recovered').map((e) => e.object),
      ['network/small'],
    );
    t.equal((await connect(0)).addresses[0], '10.40.0.16', 'what was freed first comes first again');
    for (let i = 0; i < 16; i++) await n1.api.delete(`/v1/endpoints/s${i}:small`).catch(() => {});
    for (let i = 0; i < 17; i++) await n1.api.delete(`/v1/sandboxes/s${i}`);
    await n1.must('network', 'rm', 'small', '--wait');
  });

  t.test('stating the same wish again writes nothing to the kernel', { timeout: patient(60_000) }, async (t) => {
    const trace = join(lab.dir, 'again.strace');
    await n1.stop();
    await n1.start([], [...STRACE, '-o', trace]);
    const { revision } = await n1.api.get<{ revision: number }>('/v1/status');
    const wish = await n1.api.get<object>('/v1/export');
    const before = writesIn(readFileSync(trace, 'utf8'));
    t.same(before, [], 'nor does the restart');
    t.same((await n1.api.put<{ changes: unknown[] }>('/v1/wish?wait=applied', wish)).changes, []);
    await n1.must(
      'network',
      'create',
      'app',
      ...app,
      ...ranges,
      '--reserve',
      '10.20.1.4/30',
      '--aux-address',
      'rt=10.20.1.1',
    );
    await n1.must('sandbox', 'create', 'c1', '--wait');
    await n1.must('connect', 'c1', 'app', '--wait');
    await n1.api.post('/v1/reconcile', '');
    t.equal((await n1.api.get<{ revision: number }>('/v1/status')).revision, revision);
    const text = readFileSync(trace, 'utf8');
    t.ok(requestsIn(text) > 10, 'it looked');
    t.same(writesIn(text), []);
    await n1.restart();
  });

  t.test(
    'no address is given twice, though the agent is killed again and again',
    { timeout: patient(90_000) },
    async (t) => {
      const names = Array.from({ length: 40 }, (_, i) => `k${i}`);
      for (const name of names) await n1.api.put(`/v1/sandboxes/${name}`, {});
      /** What was answered, by endpoint: it must hold from then on. */
      const answered = new Map<string, string[]>();
      let at = 0;
      for (let life = 0; life < 5; life++) {
        const enough = answered.size + 3 + life;
        let killed = false;
        const client = async () => {
          while (!killed && at < names.length) {
            const name = names[at++] as string;
            // A request that the kill cut off has no answer, and may or may not have landed.
            await n1.api
              .put<Shown>(`/v1/endpoints/${name}:app`, {})
              .then((shown) => answered.set(shown.id, shown.addresses))
              .catch(() => {});
          }
        };
        const clients = [client(), client(), client(), client()];
        // In the middle of what the clients ask: some answers are in, others on their way.
        await until(`${enough} were answered`, () => answered.size >= enough, 20_000);
        killed = true;
        await n1.kill9();
        await Promise.all(clients);
        await n1.start();
        const now = new Map((await endpoints()).map((e) => [e.id, e.addresses]));
        for (const [id, addresses] of answered) t.same(now.get(id), addresses, `${id} keeps what it was answered`);
        const all = [...now.values()].flat();
        t.equal(new Set(all).size, all.length, 'each address once');
        at = Math.max(0, at - 4);
      }
      t.ok(answered.size >= 15, `${answered.size} were answered`);
      const reserved = [...answered.values()].flat().filter((ip) => /^10\.20\.1\.[14567]$/.test(ip));
      t.same(reserved, []);
      await until('all is well', async () => /phase +ready/.test(await n1.must('status')), 20_000);
      for (const { id, addresses } of await endpoints()) {
        const [sandbox] = id.split(':') as [string];
        const { stdout } = await n1.execIn(sandbox, 'ip', '-br', 'addr', 'show', 'eth0');
        for (const ip of addresses) t.ok(stdout.includes(`${ip}/`), `${id} has ${ip}`);
      }
    },
  );
}
