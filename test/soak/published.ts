import { spawn } from 'node:child_process';
import { outcomeOf, until } from '../support/lab.js';
import { PORTS, type Sandbox } from './model.js';
import { TARGET } from './operations.js';
import type { Random } from './random.js';
import type { Soak } from './soak.js';

/** Sandboxes that are called at a checkpoint. */
const CALLED = 2;

/** Published ports lead to their sandboxes, from outside and in both families, and what is not published leads nowhere. */
export async function published(soak: Soak, random: Random): Promise<void> {
  const { model, lab } = soak;
  const all = [...model.sandboxes.values()].filter(({ ports }) => ports.size > 0);
  for (const sandbox of random.shuffled(all).slice(0, CALLED)) await answers(soak, sandbox, random);
  const node = random.pick(lab.nodes);
  const taken = new Set(model.at(node?.number ?? 0).flatMap(({ ports }) => [...ports]));
  const closed = random.pick(PORTS.filter((port) => !taken.has(port)));
  if (!node || closed === undefined) return;
  const said = await call(soak, node.vtep, closed);
  if (said !== 'refused') throw new Error(`port ${closed} of ${node.name} is not published, and answers "${said}"`);
}

async function answers(soak: Soak, sandbox: Sandbox, random: Random): Promise<void> {
  const { model, lab } = soak;
  const node = lab.node(sandbox.node);
  const port = random.pick(sandbox.ports) as number;
  const address = `TCP6-LISTEN:${TARGET},ipv6only=0,reuseaddr,fork`;
  const server = spawn(
    'nsenter',
    [`--net=${node.pin(sandbox.name)}`, 'socat', address, `SYSTEM:echo ${sandbox.name}`],
    {
      stdio: 'ignore',
    },
  );
  try {
    for (const of of [4, 6] as const) {
      if (!model.wayOut(sandbox, of)) continue;
      const to = of === 4 ? node.vtep : node.ip6;
      const answered = async () => (await call(soak, to, port)) === sandbox.name;
      await until(`${sandbox.name} answers at port ${port} of ${to}`, answered, 20_000);
    }
  } finally {
    server.kill('SIGKILL');
  }
}

/** What a caller outside is answered; `refused` or `silent`. */
async function call({ lab }: Soak, to: string, port: number): Promise<string> {
  const end = to.includes(':') ? `TCP6:[${to}]:${port}` : `TCP4:${to}:${port}`;
  const command = ['socat', '-u', '-T', '2', `${end},connect-timeout=2`, '-'];
  const { stdout, stderr } = await outcomeOf('ip', ['netns', 'exec', lab.client, ...command]);
  return stdout.trim() || (/refused/i.test(stderr) ? 'refused' : 'silent');
}
