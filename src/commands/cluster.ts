import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { drainCommands } from './drain.js';
import { tableCommands } from './objects.js';
import { column, type Row } from './output.js';
import { at, collect, given, pairs, session, waiting, waitQuery } from './shared.js';

/** Nodes, peers and gossip: what is known of the rest of the cluster. */
export function clusterCommands(program: Command): void {
  const node = program.command('node').description('nodes of the cluster');
  drainCommands(node, 'node', 'name');
  waiting(node.command('add <name>').description('tell of a node'))
    .requiredOption('--vtep <ip>', 'its underlay address')
    .option('--address <network=ip>', 'its own address on a network (repeatable)', collect)
    .option('--label <k=v>', 'label (repeatable)', collect)
    .action(async (name: string, options: Row, self: Command) => {
      const addresses: Record<string, string[]> = {};
      for (const [network, ip] of (options.address as string[] | undefined)?.map(split) ?? []) {
        addresses[network] = [...(addresses[network] ?? []), ip];
      }
      const labels = options.label && pairs(options.label as string[]);
      const body = given({ vtep: options.vtep, addresses, labels });
      await session(self).client.put(at('nodes', name) + waitQuery(options), body);
      process.stdout.write(`${name}\n`);
    });
  tableCommands(node, 'nodes', [
    column('NAME', 'id'),
    column('VTEP'),
    column('ALIVE'),
    column('ADDRESSES'),
    column('ORIGIN', 'origin', true),
  ]);

  const peer = program.command('peer').description('endpoints on other nodes');
  waiting(peer.command('add <network> <ip> <mac> <vtep>').description('tell of an endpoint on another node'))
    .option('--service <name>', 'service it is a backend of')
    .action(async (network: string, address: string, mac: string, vtep: string, options: Row, self: Command) => {
      const id = `${network}/${address}`;
      const body = given({ network, address, mac, vtep, service: options.service });
      await session(self).client.put(at('peers', id) + waitQuery(options), body);
      process.stdout.write(`${id}\n`);
    });
  tableCommands(peer, 'peers', [
    column('KEY', 'id'),
    column('NETWORK'),
    column('ADDRESS'),
    column('MAC'),
    column('VTEP'),
    column('SERVICE'),
    column('STATE'),
    column('ORIGIN', 'origin', true),
  ]);

  const gossip = program.command('gossip').description('table updates from the control plane');
  waiting(gossip.command('push').description('send a file of updates as one change'))
    .requiredOption('-f, --file <file>', 'NDJSON file, - for standard input')
    .action(async (options: Row, self: Command) => {
      const text = readFileSync(options.file === '-' ? 0 : String(options.file), 'utf8');
      const answer = await session(self).client.post<Row>(`/v1/gossip${waitQuery(options)}`, text);
      process.stdout.write(`${String(answer.changed)} of ${String(answer.rows)} rows changed something\n`);
    });
  gossip
    .command('own')
    .description('this node’s own rows, for other nodes')
    .option('--follow', 'go on with what changes, deletes included', false)
    .action(async (options: Row, self: Command) => {
      const path = `/v1/gossip?follow=${String(options.follow)}`;
      for await (const line of session(self).client.lines(path)) process.stdout.write(`${line}\n`);
    });
}

function split(text: string): [string, string] {
  const at = text.indexOf('=');
  return [text.slice(0, Math.max(0, at)), text.slice(at + 1)];
}
