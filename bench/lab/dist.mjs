// Modules of weft itself, as they were built.
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const DIST = fileURLToPath(new URL('../../dist/', import.meta.url));

/** @param {readonly string[]} names such as `reconcile/pass` */
export const load = (names) => Promise.all(names.map((name) => import(path.join(DIST, `${name}.js`))));
