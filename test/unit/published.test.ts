import test from 'ava';
import type { AgentPort } from '../../src/api/agent.js';
import { refuseTaken } from '../../src/api/taken.js';
import { newlyPublished, type PortHolder, takes } from '../../src/model/published.js';
import { publishSpec, type Service, serviceBody } from '../../src/model/service.js';

const port = (published: number, more: object = {}) => publishSpec.parse({ published, target: 80, ...more });
const service = (...publish: object[]): Service => serviceBody.parse({ networks: ['app'], publish });
const holder = (address: string, at: number, proto: 'tcp' | 'udp' = 'tcp'): PortHolder => ({
  proto,
  address,
  port: at,
  pid: 4711,
  program: 'nginx',
});

test('who is taken by a published port', (t) => {
  t.true(takes(holder('0.0.0.0', 80), port(80)));
  t.true(takes(holder('127.0.0.1', 80), port(80)), 'the rule covers loopback too');
  t.true(takes(holder('::', 80), port(80)), 'a socket of all addresses is one of IPv4 too');
  t.true(takes(holder('::ffff:10.0.0.1', 80), port(80)));
  t.false(takes(holder('::1', 80), port(80)));
  t.false(takes(holder('0.0.0.0', 81), port(80)));
  t.false(takes(holder('0.0.0.0', 80, 'udp'), port(80)));
  t.true(takes(holder('0.0.0.0', 8005), port(8000, { publishedEnd: 8010 })));
  t.false(takes(holder('0.0.0.0', 8011), port(8000, { publishedEnd: 8010 })));
});

test('what is published anew', (t) => {
  const before = service({ published: 80, target: 80 });
  t.deepEqual(newlyPublished(before, before), []);
  t.deepEqual(
    newlyPublished(undefined, before).map((p) => p.published),
    [80],
  );
  const after = service({ published: 80, target: 80 }, { published: 81, target: 80 });
  t.deepEqual(
    newlyPublished(before, after).map((p) => p.published),
    [81],
  );
});

/** An agent on whose node these listen. */
const agentWith = (...holders: PortHolder[]): AgentPort => {
  const stub: Partial<AgentPort> = {
    portHolders: async (ports) => holders.filter((h) => ports.some((p) => takes(h, p))),
  };
  return stub as AgentPort;
};

test('a taken port is refused, naming who has it', async (t) => {
  const after = service({ published: 80, target: 80 });
  const error = await t.throwsAsync(refuseTaken(agentWith(holder('0.0.0.0', 80)), [{ before: undefined, after }]), {
    code: 'WEFT_CONFLICT',
  });
  t.is(error?.message, 'port 80/tcp is taken on this node: nginx (pid 4711) listens on 0.0.0.0');
});

test('what was published before is not refused, nor what nobody has, nor what the agent has itself', async (t) => {
  const after = service({ published: 80, target: 80 });
  const taken = agentWith(holder('0.0.0.0', 80));
  await t.notThrowsAsync(refuseTaken(taken, [{ before: after, after }]));
  await t.notThrowsAsync(refuseTaken(taken, [{ before: undefined, after: service({ published: 81, target: 80 }) }]));
  const own = agentWith({ ...holder('0.0.0.0', 80), pid: process.pid });
  await t.notThrowsAsync(refuseTaken(own, [{ before: undefined, after }]));
});

test('a holder that cannot be seen is said to be one', async (t) => {
  const hidden = agentWith({ proto: 'tcp', address: '::', port: 80 });
  await t.throwsAsync(refuseTaken(hidden, [{ before: undefined, after: service({ published: 80, target: 80 }) }]), {
    message: /a process that is not to be seen from here listens on ::$/,
  });
});
