import test, { type ExecutionContext } from 'ava';
import type { ProbeSocket } from '../../src/agent/underlay/probe-socket.js';
import { Prober } from '../../src/agent/underlay/prober.js';

const OTHER = '192.168.72.1';

/** A network on which packets up to `carries` bytes are answered; 0: nobody answers. */
class Wire {
  readonly asked: number[] = [];
  carries = 1500;
  onAsk: () => void = () => {};

  get socket(): ProbeSocket {
    const ask = async (_vtep: string, size: number) => {
      this.asked.push(size);
      this.onAsk();
      return size <= this.carries;
    };
    return { ask, forget: () => {} } as unknown as ProbeSocket;
  }
}

/** A prober on a wire, and the end of its next search. */
function probing(t: ExecutionContext, wire: Wire): { prober: Prober; found: () => Promise<unknown> } {
  let tell: () => void = () => {};
  const { socket } = wire;
  const prober = new Prober(
    () => socket,
    () => tell(),
  );
  // Its own timers keep no process alive.
  const alive = setInterval(() => {}, 1000);
  t.teardown(() => {
    clearInterval(alive);
    prober.stop();
  });
  return { prober, found: () => new Promise<void>((resolve) => (tell = resolve)) };
}

const target = (full = 1500) => new Map([[OTHER, { full, changed: false }]]);

test('a path that carries what its route says takes one packet', async (t) => {
  const wire = new Wire();
  const { prober, found } = probing(t, wire);
  const end = found();
  prober.setTargets(target());
  await end;
  t.deepEqual(wire.asked, [1500]);
  t.deepEqual([prober.finding(OTHER).mtu, prober.finding(OTHER).silent], [1500, false]);
});

test('the largest size that passes a narrow path is found', async (t) => {
  const wire = new Wire();
  wire.carries = 1391;
  const { prober, found } = probing(t, wire);
  const end = found();
  prober.setTargets(target());
  await end;
  t.is(prober.finding(OTHER).mtu, 1391);
});

test('a silent node is asked again when it speaks', async (t) => {
  const wire = new Wire();
  wire.carries = 0;
  const { prober, found } = probing(t, wire);
  const silent = found();
  prober.setTargets(target());
  await silent;
  t.true(prober.finding(OTHER).silent);
  wire.carries = 1500;
  const answered = found();
  prober.heardOf(OTHER);
  await answered;
  t.false(prober.finding(OTHER).silent);
});

test('a node that speaks while it is being asked in vain is asked again, not in ten minutes', async (t) => {
  const wire = new Wire();
  wire.carries = 0;
  const { prober, found } = probing(t, wire);
  wire.onAsk = () => prober.heardOf(OTHER);
  const silent = found();
  prober.setTargets(target());
  await silent;
  t.true(prober.finding(OTHER).silent);
  wire.onAsk = () => {};
  wire.carries = 1500;
  await found();
  t.is(prober.finding(OTHER).mtu, 1500);
});
