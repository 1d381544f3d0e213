#!/usr/bin/env node
// Valid and damaged DNS messages at the resolver's answers. usage: dns-fuzz.mjs [--messages N] [--seed S] [--sockets]
//   --messages  how many, a million when not given
//   --seed      which; new ones when not given
//   --sockets   by UDP and TCP to a resolver that is started in a namespace of its own (root), not by calls
// Needs `npm run build:test`. Exit status 1 when an answer is not as it should be: the message and the seed are printed.
import { spawnSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ResolverClient } from '../build/src/dns/client.js';
import { Random } from '../build/test/soak/random.js';
import { DnsFuzz, VIEW } from '../build/test/support/dns-fuzz.js';
import { SocketWire } from '../build/test/support/dns-wire.js';

const text = { type: 'string' };
const { values } = parseArgs({ options: { messages: text, seed: text, sockets: { type: 'boolean', default: false } } });
const messages = Number(values.messages ?? 1_000_000);
const seed = Number(values.seed ?? randomInt(2 ** 31));
/** Set where the run is in a namespace of its own. */
const INSIDE = 'WEFT_DNS_FUZZ';

if (values.sockets && process.env[INSIDE] === undefined) {
  const argv = ['--net', 'sh', '-ec', 'ip link set lo up; exec "$@"', 'sh', process.execPath, ...process.argv.slice(1)];
  const { status } = spawnSync('unshare', argv, { stdio: 'inherit', env: { ...process.env, [INSIDE]: '1' } });
  process.exit(status ?? 1);
}

/** A resolver whose sandbox is this namespace. */
async function started() {
  const runDir = mkdtempSync(join(tmpdir(), 'weft-dns-fuzz-'));
  const program = fileURLToPath(new URL('../build/src/weft-resolver.js', import.meta.url));
  const client = new ResolverClient({ runDir, command: [process.execPath, program] });
  await client.connect();
  const netns = `/proc/${process.pid}/ns/net`;
  const { sandboxes } = await client.sendView({ ...VIEW, sandboxes: { c: { ...VIEW.sandboxes.c, netns } } });
  const { pid } = await client.status();
  const wire = new SocketWire(sandboxes.c);
  const end = async () => {
    const { counters } = await client.status();
    wire.close();
    client.close();
    process.kill(pid, 'SIGTERM');
    rmSync(runDir, { recursive: true, force: true });
    return counters;
  };
  return { wire, end };
}

console.log(`seed ${seed}, ${messages} messages`);
const resolver = values.sockets ? await started() : undefined;
const fuzz = new DnsFuzz(new Random(seed));
const start = performance.now();
for (let i = 0; i < messages; i++) {
  try {
    if (resolver) await fuzz.stepOver(resolver.wire);
    else fuzz.step();
  } catch (error) {
    console.error(`message ${i} of seed ${seed}: ${error.message}`);
    await resolver?.end();
    process.exit(1);
  }
}
if (resolver) console.log(`the resolver counts ${JSON.stringify(await resolver.end())}`);
const { valid, damaged, unanswered, slowestMs } = fuzz.done;
const seconds = ((performance.now() - start) / 1000).toFixed(0);
console.log(`${valid} valid, all answered; ${damaged} damaged, ${unanswered} of them no queries and met with silence`);
console.log(`${resolver ? '' : `slowest ${slowestMs.toFixed(3)} ms, `}${seconds} s in all`);
