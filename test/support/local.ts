import { spawnSync } from 'node:child_process';
import { type LabNode, type Outcome, outcomeOf, patient } from './lab.js';

/** Outside of every node: where a lab's client stands. */
export const OUTSIDE = { 4: '192.168.70.1', 6: '2001:db8:70::1' } as const;
/**
 * What may make it hard for containers on a node: forwarding refused by policy, reverse paths checked strictly, and
 * bridged frames shown to iptables.
 */
export async function adverse(node: LabNode): Promise<void> {
  spawnSync('modprobe', ['-q', 'br_netfilter']);
  const script = [
    'iptables -P FORWARD DROP; ip6tables -P FORWARD DROP',
    'sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1',
    'for f in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do [ ! -e $f ] || echo 1 >$f; done',
  ].join('\n');
  const { code, stderr } = await node.exec('sh', '-ec', script);
  if (code !== 0) throw new Error(stderr);
}

/** A command outside of every node. */
export const execAt = (ns: string, ...command: string[]): Promise<Outcome> =>
  outcomeOf('ip', ['netns', 'exec', ns, ...command]);

/** Sends a word by TCP to a listener of that moment in another sandbox. @returns what arrived there */
export async function sends(node: LabNode, from: string, to: string, ip: string): Promise<string> {
  const six = ip.includes(':');
  const listening = node.execIn(
    to,
    'timeout',
    String(patient(4000) / 1000),
    'socat',
    '-u',
    `TCP${six ? 6 : 4}-LISTEN:7000`,
    '-',
  );
  const address = `TCP:${six ? `[${ip}]` : ip}:7000,retry=20,interval=0.1,connect-timeout=1`;
  await node.execIn(from, 'sh', '-c', `echo hello | socat -u - ${address}`);
  return (await listening).stdout.trim();
}
