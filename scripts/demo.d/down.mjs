#!/usr/bin/env node
// Takes down a demo that was kept.
import { livingOwner, takeDown } from './lab.mjs';

const owner = livingOwner();
if (owner !== undefined) {
  console.error(`demo: a demo runs as process ${owner}; Ctrl-C ends it`);
  process.exit(1);
}
await takeDown();
