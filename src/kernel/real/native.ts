import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WeftError } from '../../base/errors.js';

/** A netlink socket of `nlOpen`. Opaque; closed by `nlClose`, when collected, or with the environment. */
export interface NlSocket {
  readonly __nlSocket: never;
}

/** A notification thread of `monitorStart`. Opaque; runs until `monitorStop` or the end of the environment. */
export interface Monitor {
  readonly __monitor: never;
}

/** What every function here throws or rejects with: `message` is "operation subject: text". */
export interface NativeError extends Error {
  /** The errno's name, as 'ENOENT'. */
  code: string;
  errno: number;
}

/** Identity of a namespace as long as the machine is up: device and inode of its nsfs file. */
export interface NamespaceIdentity {
  dev: bigint;
  ino: bigint;
}

/**
 * What a monitor reports. `bytes` holds one or more complete messages (nlmsghdr) of one source and namespace, in the
 * order of arrival. `nsid` is the namespace's id as the listening socket's namespace counts (RTM_NEWNSID), -1 for that
 * namespace itself. `lost`: the kernel had to drop messages of this source (ENOBUFS); observe again.
 */
export type MonitorRecord =
  | { id: number; nsid: number; bytes: Buffer; lost?: undefined }
  | { id: number; lost: true; nsid?: undefined; bytes?: undefined };

/** A thread of `datagramsStart` that reads and answers datagrams. Opaque; runs until `datagramsStop` or the end of the environment. */
export interface DatagramThread {
  readonly __datagramThread: never;
}

export interface MonitorOptions {
  /** Undelivered bytes above which the thread stops reading (default 4 MiB); what the kernel then drops comes as `lost`. */
  maxPendingBytes?: number;
  /** SO_RCVBUF of each source (default 4 MiB; the kernel doubles it). */
  rcvbufBytes?: number;
}

export interface ExecOutcome {
  /** Exit status, null when a signal ended the program. */
  code: number | null;
  signal: number | null;
  stdout: Buffer;
  stderr: Buffer;
}

export interface SocketOptions {
  /** sctp: one-to-one style. */
  type: 'udp' | 'tcp' | 'sctp';
  family: 4 | 6;
  /** Text of that family, without zone. */
  address: string;
  /** 0 (the default) lets the kernel choose. */
  port?: number;
  reuseAddr?: boolean;
  reusePort?: boolean;
  /** IPV6_V6ONLY; set either way, whatever net.ipv6.bindv6only says. */
  v6only?: boolean;
  /** UDP: datagrams are never fragmented and may have the MTU of the interface, whatever the route says (EMSGSIZE above). */
  mtuProbe?: boolean;
  /** SO_BINDTODEVICE: an interface of the namespace, as a VRF. */
  device?: string;
  /** IP_FREEBIND: the address need not be the node's yet. */
  freeBind?: boolean;
  /** A socket filter drops every packet before it is queued. */
  deaf?: boolean;
}

/** struct ipt_getinfo (linux/netfilter_ipv4/ip_tables.h) without the hook offsets. */
export interface XtTableInfo {
  validHooks: number;
  entries: number;
  /** Bytes of the rule blob. */
  size: number;
}

/**
 * The addon: what JavaScript cannot do itself. It knows no message beyond struct nlmsghdr.
 *
 * `netnsFd` is a descriptor of a network namespace, or -1 for the agent's own. The process never moves: a call that works
 * in a namespace does so on a thread that enters it and ends. `mntnsFd` (optional, of /proc/PID/ns/mnt) does the mount
 * work in another mount namespace. Wrong arguments throw EINVAL before anything is done.
 */
export interface Native {
  /**
   * Create a network namespace, everything in it down, pinned by a bind mount on `path` (mode 0444; made here, its
   * directory must exist). A pin lives as long as the mount namespace it is mounted in: an agent under `ip netns exec`
   * has a private one, and what it shall leave behind must be pinned through `mntnsFd` (of pid 1).
   * @throws EEXIST where `path` is a pin or no empty regular file; an empty file, as a reboot leaves it, is reused.
   */
  netnsCreate(path: string, mntnsFd?: number): void;
  /**
   * Unmount (MNT_DETACH) and unlink a pin; absent is success. The unlink also detaches mounts on the file in other mount
   * namespaces, so the namespace is freed as soon as no process, socket or descriptor is left in it.
   * @throws EINVAL where `path` is anything but a pin or an empty regular file.
   */
  netnsDelete(path: string, mntnsFd?: number): void;
  /** O_RDONLY | O_CLOEXEC descriptor of a pin or /proc/PID/ns/net; `closeFd` it. @throws EINVAL: no network namespace. */
  netnsOpen(path: string, mntnsFd?: number): number;
  /** The namespace of a process (its main thread). @throws ENOENT: no such process. */
  netnsOpenPid(pid: number): number;
  netnsIdentity(netnsFd: number): NamespaceIdentity;
  /** Close a descriptor of `netnsOpen`, `netnsOpenPid`, `packetOpen`, or of `socketOpen` where nothing has adopted it. */
  closeFd(fd: number): void;
  /**
   * Make `dir` a mount of its own with shared propagation, as `ip netns` does with /run/netns; done already is success.
   * Mount namespaces made afterwards (`ip netns exec`, units with PrivateMounts) then see pins come and go; without it
   * they keep a copy of those that existed and never see new ones.
   */
  mountShared(dir: string, mntnsFd?: number): void;
  /** Undo `mountShared` (MNT_DETACH); not mounted or absent is success. */
  unmount(path: string, mntnsFd?: number): void;

  /**
   * A netlink socket in a namespace: close-on-exec, extended and capped acknowledgements, strict checking of requests
   * (where the kernel has it), bound to a port id that no other socket of this process and no pid has.
   * `protocol` is NETLINK_ROUTE (0), NETLINK_NETFILTER (12), … `rcvbufBytes` (and the same for sending) should hold the
   * largest batch and its acknowledgements, about 1 KiB each.
   */
  nlOpen(netnsFd: number, protocol: number, rcvbufBytes: number): NlSocket;
  nlPortId(socket: NlSocket): number;
  /** Close now. Transactions under way or queued reject with ECANCELED. Closed already is success. */
  nlClose(socket: NlSocket): void;
  /**
   * Send `batch` (whole messages, padded to 4 bytes, sequence numbers not going down and above those of earlier batches)
   * with one sendmsg, and receive until the last message that asks for an answer (NLM_F_ACK or NLM_F_DUMP) has an
   * NLMSG_ERROR or NLMSG_DONE of its number; also where an earlier one failed and the kernel has nothing more to say. A
   * dump must be the last message. The kernel answers each failed message, so an NLM_F_ACK on the last one is enough.
   * Resolves with every message received for the batch, refusals included: errno, extended acknowledgement and
   * NLM_F_DUMP_INTR are the caller's to read. A request for one object needs NLM_F_ACK too.
   *
   * Calls on one socket are answered in order, those on several in parallel. `timeoutMs` counts from the sending.
   * @throws ETIMEDOUT, ENOBUFS (replies were dropped: the state is unknown), ECANCELED (closed meanwhile), EMSGSIZE (batch
   *   above the send buffer). EINVAL and EBADF (closed) are thrown, not rejected with.
   */
  nlTransact(socket: NlSocket, batch: Uint8Array, timeoutMs: number): Promise<Buffer>;
  /** The same on the calling thread; waits for a transaction under way on the socket, passes those that are queued. */
  nlTransactSync(socket: NlSocket, batch: Uint8Array, timeoutMs: number): Buffer;

  /** Start the notification thread. `callback` gets batches; it does not keep the process alive. */
  monitorStart(callback: (records: MonitorRecord[]) => void, options: MonitorOptions): Monitor;
  /**
   * Listen to multicast groups (numbers, as RTNLGRP_LINK = 1) of a protocol in a namespace. `allNsids` adds every
   * namespace that has an nsid there (NETLINK_LISTEN_ALL_NSID, needs CAP_NET_BROADCAST); those without one stay silent.
   * @returns the id that the records carry.
   */
  monitorAdd(monitor: Monitor, netnsFd: number, protocol: number, groups: number[], allNsids?: boolean): number;
  /** Close one source; what was read from it before may still be delivered. @throws ENOENT: no such id. */
  monitorRemove(monitor: Monitor, id: number): void;
  /** Drop messages caused by these port ids (nlmsg_pid). Replaces the set; applies to what is read from now on. */
  monitorIgnore(monitor: Monitor, portIds: number[]): void;
  /** End the thread and close its sources; no callback follows. Stopped already is success. */
  monitorStop(monitor: Monitor): void;

  /**
   * Start a thread that reads datagrams and answers those that its table knows. `callback` gets the others: all that came
   * before it is called, each behind 16 bytes: socket's id, sender's IPv4 address (as in memory), port, 0, length, all
   * little-endian. Does not keep the process alive. `ownBytes` and `allBytes` bound what is kept for one socket and for all.
   */
  datagramsStart(callback: (batch: Buffer) => void, ownBytes: number, allBytes: number): DatagramThread;
  /** Take over a bound, non-blocking IPv4 socket. @returns its id, never used again */
  datagramsAdd(thread: DatagramThread, fd: number): number;
  /** Close a socket. @throws ENOENT: no such id. */
  datagramsRemove(thread: DatagramThread, id: number): void;
  /** Answers given from the table, by kind, to datagrams and in streams; datagrams that the kernel refused to send; bytes of the table. */
  datagramsCounts(
    thread: DatagramThread,
    id: number,
  ): { hits: number[]; streamHits: number[]; refused: number; bytes: number };
  /**
   * Answers out of a socket's table to messages of a stream, each behind its length in two bytes, from the first on until
   * one is not known or not whole. @returns the answers, framed alike, and how many bytes they are answers to
   */
  datagramsStream(thread: DatagramThread, id: number, stream: Uint8Array): { answers: Buffer; taken: number };
  /** Send a datagram; within the callback, when that returns. A socket that is closed sends nothing. */
  datagramsSend(thread: DatagramThread, id: number, address: number, port: number, message: Uint8Array): void;
  /**
   * Answer `asked` with `answer` from now on (within the callback: when that returns, before what it sends). The first two
   * bytes match anything and are repeated, letters from byte 12 up to `foldEnd` match in either case and are repeated.
   * `terms`: kind (below 16), foldEnd, milliseconds or 0, rotation (offset, width and number of parts), number of tags,
   * the tags (32 bits, at most 6), offsets of 32-bit seconds that count down. `stamp`: of the time when the answer was
   * made; void where its socket or one of its tags was forgotten since. @throws EINVAL: terms that do not fit.
   */
  datagramsKeep(
    thread: DatagramThread,
    id: number,
    stamp: number,
    asked: Uint8Array,
    answer: Uint8Array,
    terms: Int32Array,
  ): void;
  /**
   * Make void what is kept under these tags; without tags what is kept for this socket; without either everything. No such
   * answer leaves any more once it returns. @returns the stamp of what is kept from now on
   */
  datagramsForget(thread: DatagramThread, id?: number, tags?: Uint32Array): number;
  /** End the thread and close its sockets; no callback follows. Stopped already is success. */
  datagramsStop(thread: DatagramThread): void;

  /**
   * Run a program in a network namespace: own process group, default signals, no inherited descriptors, stdin a pipe
   * (/dev/null for null), `env` the agent's when undefined. A name without '/' is looked up in the *agent's* PATH. The
   * mount namespace is the agent's, so /sys shows the agent's devices. Settles when the program ends, though a child of
   * it may live on.
   * @throws ENOENT and EACCES (as execve), ETIMEDOUT (the group was killed), EFBIG (over 256 MiB of output, killed).
   */
  exec(
    netnsFd: number,
    argv: string[],
    stdin: Uint8Array | null,
    env: Record<string, string> | undefined,
    timeoutMs: number,
  ): Promise<ExecOutcome>;

  /**
   * A bound, non-blocking, close-on-exec socket born in a namespace, not listening. `dgram.Socket.bind({fd})` and
   * `net.Server.listen({fd})` adopt it and close it; until then it is the caller's to close, even when the environment ends.
   */
  socketOpen(netnsFd: number, options: SocketOptions): { fd: number; port: number };

  /**
   * A packet socket in a namespace, which receives nothing; `closeFd` it. Closing waits for the kernel's other
   * processors (5 ms), so it is worth keeping.
   */
  packetOpen(netnsFd: number): number;
  /** Send whole Ethernet frames out of an interface of the socket's namespace, in order. @throws ENODEV, ENETDOWN, EMSGSIZE */
  packetSend(fd: number, device: string, frames: readonly Buffer[]): void;

  /** Values below /proc/sys ("net/ipv4/ip_forward"), without the final newline; null where a file cannot be read. */
  sysctlRead(netnsFd: number, paths: string[]): (string | null)[];
  /** Write each in order; null for success, else the errno's name ('ENOENT', 'EINVAL'). One failure stops nothing. */
  sysctlWrite(netnsFd: number, pairs: [path: string, value: string][]): (string | null)[];

  /**
   * Size of a legacy iptables (4) or ip6tables (6) table, null where the namespace has none. The kernel would create the
   * table when asked for it, so the list in /proc/net/ip_tables_names is looked at first.
   */
  xtGetInfo(netnsFd: number, family: 4 | 6, table: string): XtTableInfo | null;
  /** Who connected a unix socket (SO_PEERCRED), as of the connect. */
  peerCred(fd: number): { pid: number; uid: number; gid: number };
  /** sd_notify(3): send "READY=1" and the like to NOTIFY_SOCKET; false where that is unset. */
  sdNotify(text: string): boolean;
}

const ADDON = join('native', 'build', 'weft.node');

/** The nearest directory upwards that has a package.json; undefined at the root of the file system. */
function packageRoot(from: string): string | undefined {
  if (existsSync(join(from, 'package.json'))) return from;
  const parent = dirname(from);
  return parent === from ? undefined : packageRoot(parent);
}

let loaded: Native | undefined;

/**
 * The addon, from native/build of the package this module belongs to (dist/ and build/src/ alike).
 * @throws WEFT_KERNEL_MISSING where it is not built or does not load.
 */
export function loadNative(): Native {
  if (loaded) return loaded;
  const root = packageRoot(dirname(fileURLToPath(import.meta.url)));
  const path = root === undefined ? ADDON : join(root, ADDON);
  const hint = 'run npm run build (it needs make, a C compiler and the kernel headers)';
  if (!existsSync(path)) throw new WeftError('WEFT_KERNEL_MISSING', `the addon ${path} is not built`, hint);
  try {
    const addon: Native = createRequire(import.meta.url)(path);
    loaded = addon;
    return addon;
  } catch (error) {
    throw new WeftError('WEFT_KERNEL_MISSING', `the addon ${path} does not load: ${String(error)}`, hint);
  }
}
