import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Test } from 'tap';
import type { Family, Ip } from '../../src/base/ip.js';
import { loadNative } from '../../src/kernel/real/native.js';
import { until } from './lab.js';
import { appAddress, CLIENT, type MeshLab, PUBLISHED, TARGET, underlay, VIP } from './mesh-lab.js';
import { segmentFrame, TCP_ACK, TCP_PSH, TCP_RST } from './tcp-frame.js';
import type { Traffic } from './traffic-port.js';

/** Below those that callers are given. */
const FIRST_PORT = 9700;

/** A caller with an established connection, and where its packets leave. */
interface Victim {
  from: Traffic;
  netns: string;
  dev: string;
  ip: Ip;
  host: Ip;
  port: number;
}

/** Who sends TCP to a port of a namespace, as tcpdump sees it: addresses with ports. */
class Senders {
  readonly seen: string[] = [];

  private constructor(readonly child: ReturnType<typeof spawn>) {}

  static async to(netns: string, dev: string, port: number): Promise<Senders> {
    const words = ['tcpdump', '-lnn', '--immediate-mode', '-Q', 'in', '-i', dev, `tcp dst port ${port}`];
    const child = spawn('nsenter', [`--net=${netns}`, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
    const senders = new Senders(child);
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      for (const [, sender] of text.matchAll(/ IP6? (\S+) > /g)) senders.seen.push(sender as string);
    });
    let said = '';
    await new Promise<void>((resolve, reject) => {
      child.stderr?.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        if (said.includes('listening on')) resolve();
      });
      child.once('close', () => reject(new Error(`tcpdump ended: ${said}`)));
    });
    return senders;
  }

  async stop(): Promise<void> {
    const closed = once(this.child, 'close');
    this.child.kill('SIGINT');
    await closed;
  }
}

/** What the `ip` program says of a neighbour, or of the device itself. */
function macOf(lab: MeshLab, { netns, dev }: Victim, next?: Ip): string {
  const line = lab.sh(netns, next === undefined ? `ip -o link show ${dev}` : `ip neigh show to ${next} dev ${dev}`);
  const [, mac] = /(?:lladdr|link\/ether) (\S+)/.exec(line) ?? [];
  if (mac === undefined) throw new Error(`no MAC: ${line}`);
  return mac;
}

/**
 * Packets that fit no connection, in the name of a caller that has one: data far out of the window, a reset nobody sent, a
 * wrong checksum. Nothing that comes of them reaches the caller with another source than it dialled: its own kernel would
 * answer with a reset, and the task would lose the connection.
 */
export async function invalidPackets(t: Test, lab: MeshLab, of: Family): Promise<void> {
  const router = of === 4 ? '192.168.70.254' : '2001:db8:70::fe';
  const inside = { from: lab.container(3), netns: lab.pin(3, 'c3'), dev: 'eth0', ip: appAddress(13, of) };
  const outside = { from: lab.outside, netns: lab.netns('client'), dev: 'u0', ip: CLIENT[of] };
  const victims: (Victim & { next: Ip })[] = [
    { ...inside, host: VIP[of], port: TARGET, next: VIP[of] },
    { ...outside, host: underlay(3, of), port: PUBLISHED, next: router },
  ];
  for (const [i, victim] of victims.entries()) {
    const { from, netns, dev, ip, host, port, next } = victim;
    const localPort = FIRST_PORT + i;
    await from.open('victim', 'tcp', host, port, localPort);
    const answer = await from.say('victim');
    t.match(answer, /^b\d /, `${from.name} has a connection`);
    const senders = await Senders.to(netns, dev, localPort);
    try {
      const [fromMac, toMac] = [macOf(lab, victim), macOf(lab, victim, next)];
      const addressed = { fromMac, toMac, from: ip, fromPort: localPort, to: host, toPort: port };
      // A window is 64 KiB of four thousand million: no guess of a few comes near it.
      const stray = { ...addressed, seq: 0x12345678, ack: 0x87654321, text: 'stray' };
      const frames = [
        segmentFrame({ ...stray, flags: TCP_ACK | TCP_PSH }, 1),
        segmentFrame({ ...stray, flags: TCP_RST, text: '' }),
        segmentFrame({ ...stray, flags: TCP_ACK | TCP_PSH }),
      ];
      const native = loadNative();
      const netnsFd = native.netnsOpen(netns);
      const fd = native.packetOpen(netnsFd);
      native.packetSend(fd, dev, frames);
      for (const opened of [fd, netnsFd]) native.closeFd(opened);
      await until('the task answers the stray data, as TCP does', () => senders.seen.length > 0, 10_000);
      t.equal(await from.say('victim'), answer, `${from.name}: the connection goes on`);
      await until('and is seen to', () => senders.seen.length > 1, 10_000);
    } finally {
      await senders.stop();
    }
    t.same([...new Set(senders.seen)], [`${host}.${port}`], `${from.name} hears nobody but whom it dialled`);
    await from.close('victim');
  }
}

/** Counters of a namespace that tell of addresses where they should not be (`nstat`): reverse path, wrong destination. */
const MARTIANS = ['TcpExt IPReversePathFilter', 'Ip InAddrErrors'];

function martians(lab: MeshLab, netns: string): Record<string, number> {
  const out: Record<string, number> = {};
  const lines = lab.sh(netns, 'cat /proc/net/netstat /proc/net/snmp').split('\n');
  for (const [i, line] of lines.entries()) {
    const [group = '', ...names] = line.split(' ');
    const values = (lines[i + 1] ?? '').split(' ');
    if (values[0] !== group || !Number.isNaN(Number(names[0]))) continue;
    for (const [k, name] of names.entries()) {
      const full = `${group.slice(0, -1)} ${name}`;
      if (MARTIANS.includes(full)) out[full] = Number(values[k + 1]);
    }
  }
  return out;
}

/** A node that calls its own port at 127.0.0.1 leaves no martian behind, on any way that its packets go. */
export async function noMartians(t: Test, lab: MeshLab): Promise<void> {
  const spaces = [lab.netns(2), lab.pin(2, 'net-ingress'), lab.pin(2, 'b3'), lab.pin(1, 'b1'), lab.pin(1, 'b2')];
  const before = spaces.map((netns) => martians(lab, netns));
  t.same(Object.keys(before[0] ?? {}).sort(), [...MARTIANS].sort(), 'both are counted');
  for (const proto of ['tcp', 'udp'] as const) {
    const tally = await lab.onNode(2).ask(proto, '127.0.0.1', PUBLISHED, 6);
    t.same(Object.values(tally), [2, 2, 2], `${proto}: ${JSON.stringify(tally)}`);
  }
  t.same(
    spaces.map((netns) => martians(lab, netns)),
    before,
  );
}
