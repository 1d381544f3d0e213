import { execFile } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { ResolverClientOptions } from '../../src/dns/client.js';
import { decodeMessage, encodeMessage, type Message } from '../../src/dns/codec.js';
import { FLAG, TYPE } from '../../src/dns/constants.js';
import { Frames, framed } from '../../src/dns/frames.js';
import type { SandboxJson, ViewJson } from '../../src/dns/view-json.js';
import { loadNative } from '../../src/kernel/real/native.js';

export const run = promisify(execFile);
export const native = loadNative();
export const resolverPath = fileURLToPath(new URL('../../src/weft-resolver.js', import.meta.url));

/** Namespaces, a run directory and what a resolver there needs, all below one temporary directory. */
export class ResolverWorld {
  readonly dir = mkdtempSync(join(tmpdir(), 'weft-resolver-'));
  readonly runDir = join(this.dir, 'run');
  readonly logFile = join(this.dir, 'log');
  readonly #pins = new Set<string>();

  constructor() {
    mkdirSync(this.runDir);
  }

  path(name: string): string {
    return join(this.dir, name);
  }

  /** The resolver lives in a namespace that stands for the node's, so that the name servers it asks are ours alone. */
  get clientOptions(): ResolverClientOptions & { logFile: string } {
    const command = ['nsenter', `--net=${this.path('node')}`, process.execPath, resolverPath];
    return { runDir: this.runDir, command, logFile: this.logFile };
  }

  async namespace(name: string, lo: 'up' | 'down' = 'up'): Promise<string> {
    const path = this.path(name);
    native.netnsCreate(path);
    this.#pins.add(path);
    await run('nsenter', [`--net=${path}`, 'ip', 'link', 'set', 'lo', lo]);
    return path;
  }

  remove(path: string): void {
    native.netnsDelete(path);
    this.#pins.delete(path);
  }

  /** End the resolver that runs, if one does, and leave nothing. */
  async dispose(): Promise<void> {
    const pidFile = join(this.runDir, 'resolver.pid');
    const pid = existsSync(pidFile) ? Number(readFileSync(pidFile, 'utf8')) : 0;
    if (pid > 0 && existsSync(`/proc/${pid}`)) process.kill(pid, 'SIGTERM');
    for (const path of this.#pins) this.remove(path);
    for (let i = 0; i < 200 && existsSync(pidFile); i++) await sleep(10);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export interface Dug {
  status: string;
  flags: string[];
  answers: string[];
  ms: number;
  all: string;
}

/** Run dig in a sandbox against its resolver's real port. */
export async function dig(netns: string, port: number, ...args: string[]): Promise<Dug> {
  const start = performance.now();
  const base = [`--net=${netns}`, 'dig', '@127.0.0.11', '-p', String(port), '+tries=1', '+time=8', '+nosearch'];
  const { stdout } = await run('nsenter', [...base, ...args]).catch((error: { stdout: string }) => error);
  const ms = performance.now() - start;
  const answer = /;; ANSWER SECTION:\n([\s\S]*?)\n\n/.exec(stdout)?.[1] ?? '';
  return {
    status: /status: (\w+)/.exec(stdout)?.[1] ?? 'none',
    flags: (/;; flags: ([^;]*);/.exec(stdout)?.[1] ?? '').split(' '),
    answers: answer
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split(/\s+/).slice(4).join(' ')),
    ms,
    all: stdout,
  };
}

export type Answerer = (query: Message) => Message[] | undefined;

/** A name server in a namespace, UDP and TCP; `asked` counts. */
export async function nameServer(netns: string, address: string, answerer: Answerer, port = 53) {
  const fd = native.netnsOpen(netns);
  const asked = { udp: 0, tcp: 0, last: undefined as Message | undefined };
  const udp = dgram.createSocket('udp4');
  const listening = once(udp, 'listening');
  udp.bind({ fd: native.socketOpen(fd, { type: 'udp', family: 4, address, port }).fd });
  udp.on('message', (bytes, from) => {
    asked.udp++;
    asked.last = decodeMessage(bytes);
    for (const reply of answerer(asked.last) ?? []) udp.send(encodeMessage(reply, 512), from.port, from.address);
  });
  const tcp = net.createServer((socket) => {
    const frames = new Frames();
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      for (const bytes of frames.push(chunk)) {
        asked.tcp++;
        for (const reply of answerer(decodeMessage(bytes)) ?? []) socket.write(framed(encodeMessage(reply)));
      }
    });
  });
  tcp.listen({ fd: native.socketOpen(fd, { type: 'tcp', family: 4, address, port, reuseAddr: true }).fd });
  native.closeFd(fd);
  await Promise.all([listening, once(tcp, 'listening')]);
  const close = async () => {
    udp.close();
    tcp.close();
    await once(tcp, 'close');
  };
  return { asked, close };
}

/** A reply with `count` addresses; a `*` in the address stands for their number. */
export function reply(query: Message, address: string, count = 1, flags = 0): Message {
  const data = (i: number) => ({ type: TYPE.A, address: address.replace('*', String(i)) }) as const;
  const answers = Array.from({ length: count }, (_, i) => ({
    name: query.questions[0]?.name ?? '',
    class: 1,
    ttl: 60,
    data: data(i),
  }));
  return { ...query, flags: FLAG.QR | FLAG.RA | FLAG.RD | flags, answers, additionals: [] };
}

export function question(id: number, name: string): Uint8Array {
  const questions = [{ name, type: TYPE.A, class: 1 }];
  return encodeMessage({ id, flags: FLAG.RD, questions, answers: [], authorities: [], additionals: [] });
}

/** Sandboxes c1, on a network with a way out, and c2, on an internal one; `more` sandboxes beside them. */
export function view(
  world: ResolverWorld,
  revision: number,
  change: Partial<ViewJson> = {},
  more: Record<string, SandboxJson> = {},
): ViewJson {
  return {
    revision,
    upstreams: ['127.0.0.53'],
    sandboxes: {
      c1: { netns: world.path('c1'), networks: ['front'] },
      c2: { netns: world.path('c2'), networks: ['inside'] },
      ...more,
    },
    networks: {
      front: {
        internal: false,
        names: {
          web: { a: ['10.0.0.2', '10.0.0.3'] },
          big: { a: Array.from({ length: 300 }, (_, i) => `10.1.${i >> 8}.${i & 255}`) },
        },
        ptr: { '10.0.0.2': 'web.1.front' },
      },
      inside: { internal: true, names: { db: { a: ['10.5.0.2'], aaaa: ['fd00::2'] } }, ptr: {} },
    },
    ...change,
  };
}

/** Asks for addresses in a namespace, one query after the other or several at a time, from one socket. */
export class Asker {
  readonly #socket = dgram.createSocket('udp4');
  #last = 0;

  constructor(
    netns: string,
    readonly port: number,
  ) {
    const fd = native.netnsOpen(netns);
    this.#socket.bind({ fd: native.socketOpen(fd, { type: 'udp', family: 4, address: '127.0.0.1', port: 0 }).fd });
    native.closeFd(fd);
    this.#socket.setMaxListeners(0);
  }

  async ask(name: string): Promise<Message> {
    const id = ++this.#last & 0xffff;
    this.#socket.send(question(id, name), this.port, '127.0.0.11');
    for (;;) {
      const [bytes] = (await once(this.#socket, 'message')) as [Buffer];
      if (bytes.readUInt16BE(0) === id) return decodeMessage(bytes);
    }
  }

  close(): void {
    this.#socket.close();
  }
}
