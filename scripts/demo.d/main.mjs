#!/usr/bin/env node
// The demo behind scripts/demo, which sets the machine up first. usage: main.mjs [--keep] [--lb auto|ipvs|nft]
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { crash, rollingUpdate } from './change.mjs';
import { check, failures, printTable } from './checks.mjs';
import { endAgent, startAgent, weft, weftArgv } from './cluster.mjs';
import { disown, exists, inNetns, livingOwner, NODES, ROOT, takeDown, wire } from './lab.mjs';
import { calls, networks, PORT, replicas, secondOpinion, service } from './mesh.mjs';
import { RunError, run } from './run.mjs';

const { values } = parseArgs({
  options: { keep: { type: 'boolean', default: false }, lb: { type: 'string', default: 'auto' } },
});

let ending;
/** Removes everything, once; whoever comes second waits for the first. */
const end = () => {
  ending ??= takeDown();
  return ending;
};

for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
]) {
  process.on(signal, () => {
    console.error(`\ndemo: ${signal}: taking everything down`);
    end().then(
      () => process.exit(status),
      (cause) => fail(cause),
    );
  });
}

function fail(cause) {
  console.error(`demo: ${cause instanceof RunError ? cause.message : cause.stack}`);
  process.exit(1);
}

const began = Date.now();
const seconds = () => Math.round((Date.now() - began) / 1000);

async function scene(title, act) {
  console.log(`\n== ${title} (after ${seconds()} s)`);
  await act();
}

async function show() {
  await scene('three nodes, each in a subnet of its own behind a router, and a client outside', async () => {
    await wire();
    for (const node of NODES) await startAgent(node, values.lb);
  });
  await scene('an overlay network, and the ingress network', networks);
  await scene('service web: two replicas on n1, one on n2, none on n3', service);
  await scene('calls: each answer is the name of the replica and the client it saw', calls);
  await secondOpinion();
  await scene('a rolling update under traffic', rollingUpdate);
  await scene('kill -9 of every agent under traffic', () => crash(values.lb));
  if (!values.keep) await scene('weft down', down);
}

/** Removes what weft owns the way a user does, and looks whether it left anything on the nodes. */
async function down() {
  for (const { child } of replicas.values()) child.kill('SIGKILL');
  for (const node of NODES) {
    await weft(node, ['down']);
    await endAgent(node, 'SIGTERM');
    check(`left on ${node.name} after weft down`, 'nothing', (await remains(node)).join(', ') || 'nothing');
  }
}

async function remains(node) {
  const links = await run(inNetns(node.netns, ['ip', '-brief', 'link']));
  const rules = await run(inNetns(node.netns, ['iptables-save']));
  const pins = fs.existsSync(`${node.runDir}/netns`) ? fs.readdirSync(`${node.runDir}/netns`) : [];
  return [
    ...links.stdout.split('\n').flatMap((line) => line.split(/[ @]/)[0] || []),
    ...rules.stdout.split('\n').filter((line) => line.includes('WEFT')),
    ...pins,
  ].filter((name) => name !== 'lo' && name !== 'eth0');
}

/** Leaves everything running, with short commands to look around. */
function keep() {
  for (const node of NODES) {
    const line = `WEFT_SOCKET=${node.socket} exec ${weftArgv([]).join(' ')} "$@"`;
    fs.writeFileSync(`${ROOT}/weft-${node.name}`, `#!/bin/sh\n${line}\n`, { mode: 0o755 });
  }
  disown();
  const demo = fileURLToPath(new URL('../demo', import.meta.url));
  const [n1, , n3] = NODES;
  console.log(`
All of it still runs; weft-n1, weft-n2, weft-n3 are weft for each node's agent. For example
  cd ${ROOT}
  ./weft-n1 status
  ./weft-n3 sandbox exec c3 -- curl -s http://web/
  ip netns exec weft-demo-client curl -s http://${n3.address}:${PORT}/
What the kernel has, on node n1 and in its part of the overlay network:
  ip netns exec weft-demo-n1 iptables-save -t nat
  nsenter --net=${n1.runDir}/netns/net-app bridge fdb
Nobody carries news between the agents any more. After a change on n1:
  ./weft-n1 gossip own | ./weft-n2 gossip push -f -
Take it down:
  sudo ${demo} --down`);
}

async function main() {
  const owner = livingOwner();
  if (owner !== undefined) throw new RunError(`another demo runs as process ${owner}`);
  if (exists()) {
    console.log('# taking down what an earlier demo left');
    await takeDown();
  }
  let broken;
  try {
    await show();
  } catch (cause) {
    // A signal ends what runs; what then fails is not the news.
    if (ending !== undefined) return;
    broken = cause;
  }
  printTable();
  const outcome = broken === undefined ? `${failures()} of the checks failed` : 'it broke off before the last check';
  console.log(`\n${outcome}; took ${seconds()} s`);
  if (values.keep) keep();
  else await end();
  if (broken !== undefined) fail(broken);
  process.exit(failures() > 0 ? 1 : 0);
}

main().catch(fail);
