import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { type LabNode, patient } from './lab.js';

/** Where to look: eth0 of a sandbox, or u0 of the node where none is given. */
export interface Place {
  node: LabNode;
  sandbox?: string;
  /** What to count, as tcpdump's filter says it. */
  filter: string;
}

/** How many packets each place has seen during something. @param direction `in` leaves out what the place itself sends */
export async function packetsDuring(
  places: readonly Place[],
  direction: 'in' | 'inout',
  during: () => Promise<unknown>,
): Promise<number[]> {
  const sniffers = await Promise.all(places.map((place) => sniffer(place, direction)));
  await during();
  // For the last one to arrive.
  await sleep(patient(300));
  return Promise.all(sniffers.map((stop) => stop()));
}

/** Begins to count. @returns what ends it, and tells the number */
async function sniffer({ node, sandbox, filter }: Place, direction: string): Promise<() => Promise<number>> {
  const [ns, dev] = sandbox === undefined ? [`/run/netns/${node.ns}`, 'u0'] : [node.pin(sandbox), 'eth0'];
  const command = ['tcpdump', '-nn', '--immediate-mode', '-Q', direction, '-i', dev, '-w', '/dev/null', filter];
  const child = spawn('nsenter', [`--net=${ns}`, ...command], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  const listening = new Promise<void>((resolve, reject) => {
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (said.includes('listening on')) resolve();
    });
    child.once('close', () => reject(new Error(`tcpdump ended: ${said}`)));
  });
  await listening;
  return async () => {
    const closed = once(child, 'close');
    child.kill('SIGINT');
    await closed;
    return Number(/(\d+) packets? captured/.exec(said)?.[1]);
  };
}
