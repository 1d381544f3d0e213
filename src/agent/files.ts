import { mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Ip } from '../base/ip.js';
import { LISTEN_ADDRESS } from '../dns/sockets.js';
import type { Stored, Wish } from '../model/registry.js';
import { endpointsOf } from '../network/on-network.js';
import { hasOwnNamespace } from '../network/sandbox.js';

/** resolv.conf(5) of a sandbox. With `ndots:0` names without dots are asked as they are before any search domain. */
export function resolvConf(sandbox: Stored<'sandboxes'>): string {
  const { dnsSearch } = sandbox.spec;
  const search = dnsSearch.length > 0 ? [`search ${dnsSearch.join(' ')}`] : [];
  return text([`nameserver ${LISTEN_ADDRESS}`, ...search, 'options ndots:0']);
}

/** hosts(5) of a sandbox: loopback, and its own names at its addresses. The ingress network's are nobody's names. */
export function hosts(wish: Wish, sandbox: Stored<'sandboxes'>): string {
  const { hostname } = sandbox.spec;
  const names = hostname === undefined || hostname === sandbox.id ? [sandbox.id] : [hostname, sandbox.id];
  const named = endpointsOf(wish, sandbox.id).filter(({ spec }) => !wish.networks.get(spec.network)?.spec.ingress);
  const own = named.flatMap(({ spec }) => spec.addresses);
  return text([
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    ...own.map((ip: Ip) => `${ip}\t${names.join(' ')}`),
  ]);
}

const text = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join('');

const RESOLV_CONF = 'resolv.conf';
const HOSTS = 'hosts';

/**
 * RUN_DIR/sandboxes/NAME: the files that stand for the node's in a sandbox. Each is replaced by rename, so that no reader
 * sees half of one; who mounts them should mount the directory or do it for each process, as `weft sandbox exec` does.
 */
export class SandboxFiles {
  readonly #dir: string;
  /** Why the files of a sandbox are not as they should be. */
  readonly #failed = new Map<string, string>();

  constructor(runDir: string) {
    this.#dir = resolve(runDir, 'sandboxes');
  }

  directory(sandbox: string): string {
    return join(this.#dir, sandbox);
  }

  trouble(sandbox: string): string | undefined {
    return this.#failed.get(sandbox);
  }

  /** Sandboxes whose files could not be written: try them again. */
  get failed(): string[] {
    return [...this.#failed.keys()];
  }

  /** Brings the files of these sandboxes in step with the wish; those of sandboxes that are gone go. */
  follow(wish: Wish, sandboxes: Iterable<string>): void {
    for (const name of sandboxes) {
      try {
        this.#followOne(wish, name);
        this.#failed.delete(name);
      } catch (error) {
        this.#failed.set(name, `its files cannot be written: ${(error as Error).message}`);
      }
    }
  }

  /** Sandboxes that have files, in the wish or not. */
  existing(): string[] {
    try {
      const entries = readdirSync(this.#dir, { withFileTypes: true });
      return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }

  #followOne(wish: Wish, name: string): void {
    const sandbox = wish.sandboxes.get(name);
    if (!sandbox || !hasOwnNamespace(sandbox)) {
      this.#remove(name);
      return;
    }
    mkdirSync(this.directory(name), { recursive: true, mode: 0o755 });
    this.#write(name, RESOLV_CONF, resolvConf(sandbox));
    this.#write(name, HOSTS, hosts(wish, sandbox));
  }

  #write(name: string, file: string, content: string): void {
    const path = join(this.directory(name), file);
    if (contentOf(path) === content) return;
    const fresh = join(this.directory(name), `.${file}.new`);
    writeFileSync(fresh, content, { mode: 0o644 });
    renameSync(fresh, path);
  }

  /** What is not ours in the directory stays, and the directory with it. */
  #remove(name: string): void {
    for (const file of [RESOLV_CONF, HOSTS]) {
      rmSync(join(this.directory(name), file), { force: true });
      rmSync(join(this.directory(name), `.${file}.new`), { force: true });
    }
    removeIfEmpty(this.directory(name));
    removeIfEmpty(this.#dir);
  }
}

function contentOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function removeIfEmpty(dir: string): void {
  try {
    rmdirSync(dir);
  } catch (error) {
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}
