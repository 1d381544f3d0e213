import { setTimeout as sleep } from 'node:timers/promises';
import { type LabNode, patient } from './lab.js';

type End = readonly [node: LabNode, sandbox: string];

/** Enough for TCP to send full segments, and many. */
const BYTES = 400_000;

/** Does a TCP transfer between two containers come to its end? It has `ms` for it. */
export async function carries([from, client]: End, [to, server]: End, ip: string, ms = 10_000): Promise<boolean> {
  const port = 7000 + Math.floor(Math.random() * 1000);
  const address = ip.includes(':') ? `[${ip}]` : ip;
  const family = ip.includes(':') ? '6' : '4';
  const time = String(patient(ms) / 1000);
  const sink = to.execIn(
    server,
    ...['timeout', time, 'socat', '-u', `TCP${family}-LISTEN:${port},reuseaddr`, 'SYSTEM:wc -c'],
  );
  await sleep(patient(300));
  const send = `head -c ${BYTES} /dev/zero | timeout ${time} socat -u - TCP${family}:${address}:${port},connect-timeout=${time}`;
  await from.execIn(client, 'sh', '-c', send);
  return (await sink).stdout.trim() === String(BYTES);
}

/**
 * Lets packets leave a lab's nodes in the sizes that they would have on a wire: pairs pass whole trains of segments on,
 * which no hop could tell by size.
 */
export async function onTheWire(nodes: readonly LabNode[]): Promise<void> {
  const off = ['gso', 'tso', 'tx-udp_tnl-segmentation', 'tx-udp_tnl-csum-segmentation'].flatMap((name) => [
    name,
    'off',
  ]);
  for (const node of nodes) {
    const { code, stderr } = await node.exec('ethtool', '-K', 'u0', ...off);
    if (code !== 0) throw new Error(`ethtool: ${stderr}`);
  }
}
