#!/usr/bin/env node
// The demo in a User-Mode Linux guest. usage: guest.mjs [--lb ipvs|nft|auto]
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { boot } from '../guest/boot.mjs';

const { values } = parseArgs({ options: { lb: { type: 'string', default: 'ipvs' } } });

/** Some twenty node programs at a time, 60 MB each. The host gives it as it is touched. */
const MEMORY = '3000M';

const booting = boot({ memory: MEMORY });
let interrupted = false;
for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
]) {
  process.once(signal, () => {
    interrupted = true;
    // A guest that still boots is stopped when it is up: boot() then has removed its files.
    const stopped = booting.then((guest) => guest.stop());
    stopped.finally(() => process.exit(status));
  });
}

async function show() {
  const guest = await booting;
  console.log(`# guest up in ${(guest.bootMs / 1000).toFixed(1)} s`);
  const main = fileURLToPath(new URL('main.mjs', import.meta.url));
  const { code } = await guest.runNode([main, '--lb', values.lb], {
    onStdout: (chunk) => process.stdout.write(chunk),
    onStderr: (chunk) => process.stderr.write(chunk),
  });
  await guest.stop();
  process.exit(code);
}

show().catch((cause) => {
  // What a signal ended fails, and is not the news.
  if (interrupted) return;
  console.error(`demo: ${cause.message}`);
  process.exit(1);
});
