// Runs in a guest: sets many services of IPVS up, then measures a side for each request at its socket.
import fs from 'node:fs';
import http from 'node:http';
import { IN_GUEST } from '../guest.mjs';
import { plugSwitch } from '../lab/underlay.mjs';
import { apiClient } from '../lab/weft.mjs';
import { Traffic } from '../traffic.mjs';
import { lookupSides } from './agents.mjs';
import { serverSides } from './load.mjs';

const SERVICES = 2000;
/** A guest has one processor. */
const CPU = 0;

const { directory, socket } = IN_GUEST;
fs.mkdirSync(directory, { recursive: true });
plugSwitch();
const traffic = new Traffic({ cpu: CPU, other: CPU });
const setting = { directory, cpus: [], ApiClient: await apiClient() };
const parts = [await serverSides(directory), await lookupSides(setting, traffic, 'ipvs', SERVICES)];
const sides = Object.assign({}, ...parts.map((part) => part.sides));

/** `/` tells the sides, `/NAME` measures one. */
async function answer(name) {
  if (name === '') return sides;
  if (!Object.hasOwn(sides, name)) throw new Error(`there is no side ${name}`);
  return sides[name].measure();
}

const server = http.createServer(async ({ url }, response) => {
  try {
    response.end(JSON.stringify(await answer(url.slice(1))));
  } catch (cause) {
    response.writeHead(500).end(cause.message);
  }
});
server.listen(socket);
