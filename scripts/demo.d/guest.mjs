#!/usr/bin/env node
// The demo in a User-Mode Linux guest. usage: guest.mjs [--lb ipvs|nft|auto]
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { boot } from '../guest/boot.mjs';

const { values } = parseArgs({ options: { lb: { type: 'string', default: 'ipvs' } } });

/** Some twenty node programs at a time, 60 MB each. The host gives it as it is touched. */
const MEMORY = '3000M';

const booting = boot({ memory: MEMORY });
for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
]) {
  // A guest that still boots is stopped when it is up: boot() then has removed its files.
  const stopped = () => booting.then((guest) => guest.stop());
  process.once(signal, () => stopped().finally(() => process.exit(status)));
}
const guest = await booting;
console.log(`# guest up in ${(guest.bootMs / 1000).toFixed(1)} s`);
const main = fileURLToPath(new URL('main.mjs', import.meta.url));
const { code } = await guest.runNode([main, '--lb', values.lb], {
  onStdout: (chunk) => process.stdout.write(chunk),
  onStderr: (chunk) => process.stderr.write(chunk),
});
await guest.stop();
process.exit(code);
