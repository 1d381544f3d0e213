import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { loadNative } from '../../src/kernel/real/native.js';
import { until, World } from '../support/native-world.js';
import { needs } from '../support/needs.js';

const script = new URL('../support/native-worker.js', import.meta.url);

/** What this process has open that the addon could have opened, and how many threads and children it has. */
function held(): { fds: string[]; threads: number; children: string } {
  const fds = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).replace(/\d+/g, 'N');
    } catch {
      return 'gone'; // the listing's own descriptor
    }
  });
  const tasks = readdirSync('/proc/self/task');
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8');
  return { fds: fds.filter((fd) => fd !== 'gone').sort(), threads: tasks.length, children };
}

if (needs(t, ['root', 'ip'])) {
  const native = loadNative();
  const world = new World(native);
  t.teardown(() => world.end());

  /** A worker that ran, and how long its end took. */
  async function ended(pin: string, end: boolean): Promise<number> {
    const worker = new Worker(script, { workerData: { pin, end } });
    const exited = once(worker, 'exit');
    await once(worker, 'message');
    await sleep(50);
    const start = Date.now();
    if (!end) await worker.terminate();
    await exited;
    return Date.now() - start;
  }

  for (const end of [true, false]) {
    const how = end
      ? 'ends by itself with a monitor running'
      : 'is terminated with transactions and programs under way';
    t.test(`an environment that ${how} leaves no descriptor, thread or child`, async (t) => {
      const pin = world.path(`pin-${end}`);
      native.netnsCreate(pin);
      await ended(pin, end); // node's own first worker opens things that stay
      const before = held();
      for (let round = 0; round < 5; round++) t.ok((await ended(pin, end)) < 3000, 'without waiting for time-outs');
      await until(() => JSON.stringify(held()) === JSON.stringify(before), 2000);
      t.strictSame(held(), before);
    });
  }

  t.test('the descriptors of the main thread: what is closed is closed', async (t) => {
    const pin = join(world.dir, 'pin-true');
    const before = held();
    for (let i = 0; i < 50; i++) {
      const fd = native.netnsOpen(pin);
      const socket = native.nlOpen(fd, 0, 4096);
      const monitor = native.monitorStart(() => undefined, {});
      native.monitorAdd(monitor, fd, 0, [1]);
      native.monitorStop(monitor);
      native.nlClose(socket);
      await native.exec(fd, ['true'], Buffer.from('x'), undefined, 5000);
      native.closeFd(fd);
    }
    t.strictSame(held(), before);
  });
}
