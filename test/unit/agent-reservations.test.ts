import { setImmediate as turn } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { Reservations } from '../../src/agent/reservations.js';
import { codeOf } from '../../src/base/errors.js';
import type { PortAsked } from '../../src/kernel/real/reserve.js';
import { type PortHolder, type Span, takes } from '../../src/model/published.js';
import { PORT_SPACE } from '../../src/state/numbers.js';
import { StoreRig } from '../support/store.js';

/** A node's sockets in memory: programs that listen, connections, and what the agent holds. */
class Node {
  readonly rig: StoreRig;
  readonly listening: PortHolder[] = [];
  readonly connections = new Set<number>();
  readonly held = new Map<number, PortAsked>();
  readonly kept = new Set<number>();
  readonly troubles: string[] = [];
  readonly ports: Reservations;
  #next = 3;

  constructor(t: ExecutionContext) {
    this.rig = new StoreRig(t).app();
    const { store } = this.rig;
    const sockets = {
      reserve: (asked: PortAsked) => this.#reserve(asked),
      release: (fd: number) => this.held.delete(fd),
      holders: async (spans: readonly Span[]) => this.listening.filter((l) => spans.some((span) => takes(l, span))),
      isLocalPort: async (_proto: string, port: number) =>
        this.connections.has(port) || this.listening.some((l) => l.port === port),
      kept: () => (port: number) => this.kept.has(port),
    };
    this.ports = new Reservations(sockets, {
      chosen: (name) => store.chosenPort(name),
      choose: (name, first, usable) => store.number(PORT_SPACE, name, first, usable),
    });
    this.ports.on('trouble', (owner, message) => this.troubles.push(`${owner}: ${message}`));
    t.teardown(() => this.ports.stop());
  }

  #reserve(asked: PortAsked): { fd: number } | 'taken' {
    const { proto, address: hostIp, port } = asked;
    const span = { proto, hostIp, from: port, to: port };
    if (this.connections.has(port) || this.listening.some((l) => takes(l, span))) return 'taken';
    this.held.set(this.#next, asked);
    return { fd: this.#next++ };
  }

  listen(port: number): PortHolder {
    const holder: PortHolder = { proto: 'tcp', address: '0.0.0.0', port, pid: 4711, program: 'nginx' };
    this.listening.push(holder);
    return holder;
  }

  /** The wish with these ports of c1, and the node's sockets after it. */
  publish(...ports: object[]): void {
    this.rig.put('sandboxes', 'c1', { ports });
    this.ports.follow(this.rig.store.wish);
  }

  get shown(): string[] {
    return [...this.held.values()].map(({ proto, address, port }) => `${proto} ${address ?? '*'} ${port}`).sort();
  }
}

test('what is published is held, each number of a range, and given back', (t) => {
  const node = new Node(t);
  node.publish(
    { published: 80, target: 80, hostIp: '10.0.0.1' },
    { published: 90, publishedEnd: 91, target: 1, proto: 'udp' },
  );
  t.deepEqual(node.shown, ['tcp 10.0.0.1 80', 'udp * 90', 'udp * 91']);
  const before = [...node.held.keys()].slice(1);
  node.publish({ published: 90, publishedEnd: 91, target: 1, proto: 'udp' });
  t.deepEqual([...node.held.keys()], before, 'what stays published is never let go');
  node.publish();
  t.deepEqual(node.shown, []);
});

test('numbers are chosen past listeners, connections, the administrator’s and published ones', (t) => {
  const node = new Node(t);
  node.listen(32768);
  node.connections.add(32769);
  node.kept.add(32770);
  node.publish({ published: 32771, target: 1 }, { target: 80 }, { target: 81 });
  t.is(node.rig.store.chosenPort('c1/sandbox/c1/tcp/*/80'), 32772);
  t.is(node.rig.store.chosenPort('c1/sandbox/c1/tcp/*/81'), 32773);
  t.deepEqual(node.shown, ['tcp * 32771', 'tcp * 32772', 'tcp * 32773']);
});

test('a claim on a taken port is refused, naming who has it, and leaves nothing behind', async (t) => {
  const node = new Node(t);
  node.listen(80);
  node.publish();
  const wish = node.rig.store.wish;
  node.rig.put('sandboxes', 'c1', {
    ports: [
      { published: 79, target: 1 },
      { published: 80, target: 1 },
    ],
  });
  const error = await t.throwsAsync(node.ports.claim(node.rig.store.wish));
  t.is(codeOf(error), 'WEFT_CONFLICT');
  t.is(error?.message, 'port 80/tcp is taken on this node: nginx (pid 4711) listens on 0.0.0.0');
  node.ports.settle();
  t.deepEqual(node.shown, [], `as at revision ${wish.revision}`);
});

test('what was published before is not refused, nor what a passing connection has', async (t) => {
  const node = new Node(t);
  node.listen(80);
  node.publish({ published: 80, target: 80 });
  await t.notThrowsAsync(node.ports.claim(node.rig.store.wish));
  node.connections.add(81);
  node.rig.put('sandboxes', 'c1', { ports: [{ published: 81, target: 80 }] });
  await t.notThrowsAsync(node.ports.claim(node.rig.store.wish));
});

test('who took a port while no agent ran is told, until it is free again', async (t) => {
  const node = new Node(t);
  node.listen(80);
  node.publish({ published: 80, target: 80 });
  while (node.ports.trouble('sandbox/c1') === undefined) await turn();
  t.regex(node.ports.trouble('sandbox/c1') ?? '', /nginx \(pid 4711\) listens on 0\.0\.0\.0$/);
  t.is(node.troubles.length, 1);
  node.listening.length = 0;
  node.ports.settle();
  while (node.ports.trouble('sandbox/c1') !== undefined) await turn();
  t.deepEqual(node.shown, ['tcp * 80']);
});
