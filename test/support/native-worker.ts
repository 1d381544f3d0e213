import { parentPort, workerData } from 'node:worker_threads';
import { loadNative } from '../../src/kernel/real/native.js';
import { dumpLinks, NETLINK_ROUTE, RTNLGRP_LINK, unanswered } from './native-world.js';

/** Run in a worker: takes one of everything the addon can hold, then waits to be terminated, or ends if told so. */
const { pin, end } = workerData as { pin: string; end: boolean };
const native = loadNative();
const netns = native.netnsOpen(pin);
const monitor = native.monitorStart(() => undefined, { maxPendingBytes: 1000 });
native.monitorAdd(monitor, netns, NETLINK_ROUTE, [RTNLGRP_LINK]);
native.monitorAdd(monitor, -1, NETLINK_ROUTE, [RTNLGRP_LINK], true);
const sockets = [netns, netns, netns, -1, -1, -1].map((fd) => native.nlOpen(fd, NETLINK_ROUTE, 1 << 20));
await Promise.all(sockets.map((socket) => native.nlTransact(socket, dumpLinks(1), 5000)));
if (!end) {
  for (const socket of sockets) {
    for (let seq = 2; seq < 6; seq++) void native.nlTransact(socket, unanswered(seq), 60_000);
  }
  void native.exec(netns, ['sleep', '60'], null, undefined, 60_000);
  void native.exec(netns, ['sh', '-c', 'yes'], Buffer.alloc(100_000), undefined, 60_000);
}
parentPort?.postMessage('ready');
