#!/usr/bin/env node
// Writes docs/swarm-difference.md anew. usage: swarm-difference.mjs, after `npm run build && npm run build:test`
// The comparison is made in a guest, whose kernel has IPVS; the guest lane runs the same test without writing.
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import './system-path.mjs';
import { boot, NODE_FLAGS, quote } from './guest/boot.mjs';

const TEST = 'build/test/guest/swarm-difference.test.js';
const PAGE = 'docs/swarm-difference.md';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const guest = await boot();
// What a guest writes stays there: the page is read out of it.
const test = [process.execPath, ...NODE_FLAGS, TEST, '--write'].map(quote).join(' ');
const wrapped = `cd ${quote(process.cwd())} && TAP_TIMEOUT=270 unshare --mount --net sh scripts/lane/file.sh file 300 ${test}`;
const { code, stdout, stderr } = await guest.run(
  `${wrapped} >/dev/shm/tap || { cat /dev/shm/tap; exit 1; }; cat ${PAGE}`,
);
await guest.stop();
if (code === 0) fs.writeFileSync(PAGE, stdout);
else console.error(`${stdout}${stderr}`);
process.exitCode = code === 0 ? 0 : 1;
