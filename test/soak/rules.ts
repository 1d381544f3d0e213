import type { LabNode } from '../support/lab.js';
import { missingLines } from '../support/overlay.js';
import { settled } from './checkpoint.js';
import { bodyOf, type Model } from './model.js';
import { sandboxBody } from './operations.js';
import { alive, type Soak } from './soak.js';

const SAVED = 'iptables-save; ip6tables-save; nft list ruleset';

/** Addresses of sandboxes on the gateway bridge are numbers in the order of asking, and its subnet the first that is free. */
const GATEWAY_ADDRESS = /\b172\.31\.\d+\.\d+(?!\/)|fd87:7765:6674:\d::[0-9a-f]+(?!\/)\b/g;

/**
 * Packet rules everywhere on a node, without counters and what is chosen anew each time: ports of the resolver, addresses
 * on the gateway bridge.
 */
async function rulesOf(model: Model, node: LabNode): Promise<string> {
  const parts: string[] = [];
  const add = (where: string, text: string) => {
    for (const line of text.split('\n')) {
      if (line === '' || line.startsWith('#')) continue;
      const steady = line
        .replace(/\[\d+:\d+\]|packets \d+ bytes \d+|expires \S+/g, '')
        .replace(/127\.0\.0\.11:\d+|port (set )?\d+|0x[0-9a-f]{4}(?= @th)/g, 'PORT')
        .replace(GATEWAY_ADDRESS, 'GATEWAY');
      parts.push(`${where}: ${steady}`);
    }
  };
  add(node.name, (await node.exec('sh', '-c', SAVED)).stdout);
  const spaces = [
    ...model.carriedBy(node.number, 'overlay').map(({ name }) => `net-${name}`),
    ...model.at(node.number).map(({ name }) => name),
  ];
  for (const ns of spaces) add(ns, (await node.execIn(ns, 'sh', '-c', SAVED)).stdout);
  return parts.join('\n');
}

/**
 * What a node's packet rules have become by all that happened is what they are when the same wish is stated at once on
 * an empty node. @returns each line by which they differ
 */
export async function rulesDifferFromScratch(soak: Soak, node: LabNode): Promise<string[]> {
  const { model, plane } = soak;
  const grown = await rulesOf(model, node);
  await node.api.post('/v1/down');
  for (const network of model.carriedBy(node.number))
    await node.api.put(`/v1/networks/${network.name}`, bodyOf(network));
  for (const sandbox of model.at(node.number)) {
    await node.api.put(`/v1/sandboxes/${sandbox.name}`, sandboxBody(sandbox));
    for (const { network, addresses, ifname, extras } of sandbox.endpoints.values())
      await node.api.put(`/v1/endpoints/${sandbox.name}:${network}`, { addresses, ifname, ...extras });
  }
  for (const network of model.carriedBy(node.number)) network.askedOf.add(node.number);
  await plane.snapshot(node, alive(soak));
  await settled(soak);
  const fresh = await rulesOf(model, node);
  return [
    ...missingLines(grown, fresh).map((line) => `only after all that happened: ${line}`),
    ...missingLines(fresh, grown).map((line) => `only from scratch: ${line}`),
  ];
}
