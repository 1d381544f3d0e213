import type { Test } from 'tap';
import { ipBytes } from '../../src/base/ip.js';
import { bridgeMac, endpointMac, macBytes } from '../../src/base/mac.js';
import { loadNative } from '../../src/kernel/real/native.js';
import { patient, until } from './lab.js';
import { appAddress, METRICS_PORT, type MeshLab, REPLICA_NAMES, TARGET, underlay, VIP } from './mesh-lab.js';
import { byReplica } from './mesh-schedulers.js';

/** Discard. The replicas drop what comes, for its headers bear no checksum. */
const NOWHERE = 9;
const BATCH = 4096;
/** Half as much again as a memory holds: then something else is wrong. */
const ENOUGH = 393_216;
/** Numbers of IP and flags of TCP (RFC 9293). */
const [TCP, UDP, SYN, ACK] = [6, 17, 0x02, 0x10];

/** A packet to the VIP, from c1 by its MAC; source address and port are left open (RFC 791, RFC 768, RFC 9293). */
function packet(proto: number, flags: number): Buffer {
  const header = proto === TCP ? 20 : 8;
  const frame = Buffer.alloc(34 + header);
  frame.set(macBytes(bridgeMac(underlay(1))), 0);
  frame.set(macBytes(endpointMac(appAddress(11))), 6);
  frame.writeUInt16BE(0x0800, 12);
  // Version and header length, total length, time to live, protocol.
  frame.writeUInt8(0x45, 14);
  frame.writeUInt16BE(20 + header, 16);
  frame.writeUInt8(64, 22);
  frame.writeUInt8(proto, 23);
  frame.set(ipBytes(VIP[4]), 30);
  frame.writeUInt16BE(NOWHERE, 36);
  if (proto === TCP) {
    frame.writeUInt8(0x50, 46);
    frame.writeUInt8(flags, 47);
  } else frame.writeUInt16BE(header, 38);
  return frame;
}

/** Packets of ever new sources (198.18.0.0/15, RFC 2544), and the next of each behind them, until `done`. */
function flood(lab: MeshLab, kinds: readonly (() => Buffer)[], done: () => boolean): void {
  const native = loadNative();
  const netns = native.netnsOpen(lab.pin(1, 'c1'));
  const socket = native.packetOpen(netns);
  const batches = kinds.map((kind) => Array.from({ length: BATCH }, kind));
  for (let sent = 0; sent < ENOUGH && !(sent % (16 * BATCH) === 0 && done()); sent += BATCH) {
    for (const frames of batches) {
      for (const [i, frame] of frames.entries()) {
        frame.writeUInt32BE(0xc6120000 + ((sent + i) >> 8), 26);
        frame.writeUInt16BE(1024 + (i & 0xff), 34);
      }
      native.packetSend(socket, 'eth0', frames);
    }
  }
  native.closeFd(socket);
  native.closeFd(netns);
}

/**
 * Strangers fill the flow memories of a network (IPv4, dynamic sets): who is there stays, who comes is served when he can
 * be. Leaves them full.
 */
export async function floods(t: Test, lab: MeshLab): Promise<void> {
  const c1 = lab.container(1);
  const [vip, ns] = [VIP[4], lab.pin(1, 'net-app')];
  const protos = ['tcp', 'udp'] as const;
  for (const proto of protos) await c1.open(`flooded ${proto}`, proto, vip, TARGET);
  const say = () => Promise.all(protos.map((proto) => c1.say(`flooded ${proto}`)));
  const before = await say();
  // Of a whole ruleset alone nft does not ask for the elements, of which there will be 262,144.
  const learn4 = () => lab.sh(ns, "nft -t list ruleset | sed -n '/chain learn4 /,/^\\t}/p'");
  const unremembered = () => Number(/counter packets (\d+)/.exec(learn4())?.[1]);
  t.equal(unremembered(), 0, 'there is room');
  const metrics = lab.sh(lab.netns(1), `curl -sSf http://127.0.0.1:${METRICS_PORT}/metrics`);
  t.match(metrics, /^weft_unremembered_packets_total\{network="app"\} 0$/m);
  const even = Object.fromEntries(REPLICA_NAMES.map((name) => [name, 3]));

  flood(lab, [() => packet(UDP, 0)], () => unremembered() > 0);
  t.ok(unremembered() > 0, 'the memory of datagrams is full');
  t.same(await say(), before, 'flows that stay, stay where they are');
  for (const proto of protos)
    t.same(byReplica(await c1.ask(proto, vip, TARGET, 9)), even, `new ones of ${proto}, in turn`);

  let full = unremembered();
  // Established: they stay for two hours, and so the memory is full however slow the machine is.
  flood(lab, [() => packet(TCP, SYN), () => packet(TCP, ACK)], () => unremembered() > full);
  t.ok(unremembered() > full, 'the memory of connections is full');
  t.same(await say(), before, 'connections that stay, stay where they are');
  full = unremembered();
  const late = c1.ask('tcp', vip, TARGET, 1, patient(60_000));
  await until('the SYN of a new one is dropped', () => unremembered() > full);
  const { warnings } = await lab.api(1).get<{ warnings: unknown[] }>('/v1/status');
  t.match(warnings, [{ object: 'network/app', message: /^flow memory was full for [1-9]\d* packets$/ }]);
  for (const proto of protos) await c1.close(`flooded ${proto}`);
  const [served = '', ...others] = Object.keys(byReplica(await late));
  t.ok(
    (REPLICA_NAMES as string[]).includes(served),
    `and sent again: ${served} serves it in the place of one that ended`,
  );
  t.same(others, []);
}
