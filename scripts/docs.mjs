#!/usr/bin/env node
// Writes the generated pages of docs/. usage: docs.mjs [--check]
//   --check  writes nothing; fails when a page is not what its source gives, a link leads nowhere, a page names paths or
//            hosts that exist on one machine only, or docs/behaviours.md names a test that is not there
import fs from 'node:fs';
import { register } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { apiPage } from './docs/api-page.mjs';
import { untested } from './docs/behaviours.mjs';
import { errorsPage } from './docs/errors-page.mjs';
import { brokenLinks, localWords, markdownFiles } from './docs/prose.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** Pages and their texts. */
async function generated() {
  register('./docs/ts-hooks.mjs', import.meta.url);
  const { ERRORS } = await import('../src/base/errors.ts');
  const { allRoutes } = await import('../src/api/routes.ts');
  const { openapi } = await import('../src/api/openapi.ts');
  // Routes look at the agent when they are asked, not when they are listed.
  const document = openapi(allRoutes({}));
  return { 'docs/errors.md': errorsPage(ERRORS), 'docs/api.md': apiPage(document) };
}

function stale(pages) {
  return Object.entries(pages)
    .filter(([file, text]) => {
      const absolute = path.join(ROOT, file);
      return !fs.existsSync(absolute) || fs.readFileSync(absolute, 'utf8') !== text;
    })
    .map(([file]) => `${file}: not what its source gives; run node scripts/docs.mjs`);
}

const pages = await generated();
if (process.argv.includes('--check')) {
  const files = markdownFiles(ROOT);
  const faults = [
    ...stale(pages),
    ...files.flatMap((file) => brokenLinks(ROOT, file)),
    ...files.flatMap((file) => localWords(ROOT, file)),
    ...untested(ROOT),
  ];
  for (const fault of faults) console.error(fault);
  process.exitCode = faults.length > 0 ? 1 : 0;
} else {
  for (const [file, text] of Object.entries(pages)) fs.writeFileSync(path.join(ROOT, file), text);
}
