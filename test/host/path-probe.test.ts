import t from 'tap';
import { Lab, type LabNode, outcomeOf, patient, until } from '../support/lab.js';
import { needs } from '../support/needs.js';
import { connectAll, lastAdoption, reaches } from '../support/overlay.js';
import { carries, onTheWire } from '../support/transfer.js';

const tuned = patient(60_000);
/** What the bad hop carries: 1400 bytes of IP, so 1350 in the overlay. */
const TOO_BIG = ['FORWARD', '-p', 'udp', '-m', 'length', '--length', '1401:65535', '-j', 'DROP'];

if (needs(t, ['root', 'veth', 'bridge', 'vxlan', 'ip', 'iptables', 'socat'])) {
  t.setTimeout(patient(110_000));
  const lab = await Lab.up({ nodes: 2, agents: false });
  t.teardown(() => lab.down());
  const [n1, n2] = [lab.node(1), lab.node(2)];
  const router = (...command: string[]) => outcomeOf('ip', ['netns', 'exec', lab.router, ...command]);
  const locks = async (node: LabNode) => (await node.exec('ip', 'route', 'show', 'proto', '87')).stdout.trim();
  const paths = async (node: LabNode) => /paths +(.*)/.exec(await node.must('status'))?.[1] ?? '';
  const locked = (node: LabNode, what: RegExp) =>
    until(`a lock ${what}`, async () => what.test(await locks(node)), 20_000);
  await onTheWire(lab.nodes);
  await connectAll(lab);

  t.test('good paths: one probe each, nothing is changed', { timeout: tuned }, async (t) => {
    for (const node of lab.nodes) await until('measured', async () => /1 as wide/.test(await paths(node)), 10_000);
    t.equal(await locks(n1), '');
    t.same(
      (await n1.events()).filter(({ type }) => type !== 'change'),
      [],
    );
  });

  t.test('a router that drops what is too big, and is mute about it', { timeout: tuned }, async (t) => {
    await router('iptables', '-A', ...TOO_BIG);
    for (const node of lab.nodes) await node.restart();
    await locked(n1, /192\.168\.72\.1 via 192\.168\.71\.254 dev u0 mtu lock 1400/);
    await locked(n2, /192\.168\.71\.1 via 192\.168\.72\.254 dev u0 mtu lock 1400/);
    t.match(await paths(n1), /192\.168\.72\.1 carries 1400 of 1500 bytes/);
    t.match(
      (await n1.events()).map(({ message }) => message),
      ['the path to 192.168.72.1 carries 1400 bytes, its route promises 1500: senders are told'],
    );
    const ping = ['ping', '-c2', '-i0.3', '-W1', '-M', 'do', '-s', '1422', '10.20.0.12'];
    t.match(Object.values(await n1.execIn('c1', ...ping)).join(), /mtu ?= ?1350/, 'the sender is told at once');
    t.ok(await carries([n1, 'c1'], [n2, 'c2'], '10.20.0.12'));
    t.ok(await carries([n2, 'c2'], [n1, 'c1'], '10.20.0.11'));
  });

  t.test('a restart finds the lock and leaves it', { timeout: tuned }, async (t) => {
    await n1.restart();
    t.match(lastAdoption(n1), /, 0 changes$/);
    t.match(await locks(n1), /mtu lock 1400/);
  });

  t.test('the lock follows the route it stands in front of', { timeout: tuned }, async (t) => {
    await router('ip', 'addr', 'add', '192.168.71.253/24', 'dev', 'n1');
    await n1.exec('ip', 'route', 'replace', 'default', 'via', '192.168.71.253');
    await locked(n1, /via 192\.168\.71\.253 dev u0 mtu lock 1400/);
    t.ok(await reaches(n1, 'c1', '10.20.0.12'));
  });

  t.test('a lock that somebody removes is put back', { timeout: tuned }, async () => {
    await n1.exec('ip', 'route', 'del', '192.168.72.1');
    await locked(n1, /mtu lock 1400/);
  });

  t.test(
    'the other agent is silent: what is known stays, and what is not known is not guessed',
    { timeout: tuned },
    async (t) => {
      await n2.kill9();
      await n1.restart();
      await until('known as silent', async () => /carries 1400|silent/.test(await paths(n1)), 10_000);
      t.match(await locks(n1), /mtu lock 1400/);
      await n2.start();
    },
  );

  t.test('a path that recovers is free again', { timeout: tuned }, async (t) => {
    await router('iptables', '-D', ...TOO_BIG);
    await until('the lock is gone', async () => (await locks(n1)) === '', 40_000);
    t.match(
      (await n1.events()).map(({ message }) => message),
      ['the path to 192.168.72.1 carries 1500 bytes again'],
    );
    await until(
      'no sender is held back',
      async () => (await n1.execIn('c1', 'ping', '-c1', '-W1', '10.20.0.12')).code === 0,
    );
  });

  t.test(
    'a router with a smaller link that says so: senders in containers hear of it',
    { timeout: tuned },
    async (t) => {
      await router('ip', 'link', 'set', 'n2', 'mtu', '1400');
      await n1.restart();
      await locked(n1, /mtu lock 1400/);
      const ping = ['ping', '-c2', '-i0.3', '-W1', '-M', 'do', '-s', '1422', '10.20.0.12'];
      t.match(Object.values(await n1.execIn('c1', ...ping)).join(), /mtu ?= ?1350/);
      t.ok(await carries([n1, 'c1'], [n2, 'c2'], '10.20.0.12'));
    },
  );

  t.test('down removes the lock with everything else', { timeout: tuned }, async (t) => {
    await n1.must('down');
    t.equal(await locks(n1), '');
  });
}
