// A network for several guests: one network namespace with a bridge and a tap for each guest. No process outside it
// gets an address or a device; it goes away with the process that made it.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { WeftGuestError } from './error.mjs';

/** A bridge `br0` in a namespace of its own. Made by createSwitch(). */
export class Switch {
  #holder;

  /** @internal */
  constructor(holder) {
    this.#holder = holder;
    /** Path of the namespace, for boot({ netns }) and nsenter --net=. */
    this.netns = `/proc/${holder.pid}/ns/net`;
  }

  /** Makes a tap on the bridge, for Nic.tap. At most 15 bytes (IFNAMSIZ, linux/if.h). */
  attach(tap) {
    this.exec('ip', ['tuntap', 'add', 'mode', 'tap', 'name', tap]);
    this.exec('ip', ['link', 'set', tap, 'master', 'br0', 'up']);
  }

  /** Pulls the cable of a tap: the guest behind it keeps running and stays reachable over its serial line. */
  cut(tap) {
    this.exec('ip', ['link', 'set', tap, 'down']);
  }

  /** Undoes cut(). */
  heal(tap) {
    this.exec('ip', ['link', 'set', tap, 'up']);
  }

  /** Runs a program in the namespace and returns its standard output; throws with its standard error. */
  exec(file, args) {
    try {
      return execFileSync('nsenter', [`--net=${this.netns}`, file, ...args], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      });
    } catch (cause) {
      throw new WeftGuestError(`${[file, ...args].join(' ')} in the switch: ${cause.stderr || cause.message}`);
    }
  }

  /** Removes the namespace once the last guest in it has ended. */
  async stop() {
    if (this.#holder.exitCode !== null) return;
    this.#holder.stdin.end();
    await once(this.#holder, 'exit');
  }
}

/**
 * Makes a switch. `addresses` (ADDRESS/LENGTH) are put on the bridge itself, for clients run with exec().
 * @param {{ addresses?: string[] }} [options] @returns {Promise<Switch>}
 */
export async function createSwitch({ addresses = [] } = {}) {
  // The holder ends at end of file on its standard input: also when this process is killed.
  const script =
    'ip link set lo up && ip link add br0 type bridge mcast_snooping 0 && ip link set br0 up && echo ready && exec cat';
  const holder = spawn('unshare', ['--net', 'sh', '-c', script], { stdio: ['pipe', 'pipe', 'pipe'] });
  let complaint = '';
  holder.stderr.on('data', (chunk) => {
    complaint += chunk;
  });
  const first = await Promise.race([once(holder.stdout, 'data'), once(holder, 'exit')]);
  if (!String(first[0]).startsWith('ready')) throw new WeftGuestError(`no network namespace: ${complaint}`);
  const lan = new Switch(holder);
  for (const address of addresses) lan.exec('ip', ['address', 'add', address, 'dev', 'br0', ...nodad(address)]);
  return lan;
}

/** IPv6 addresses are usable at once: duplicate address detection would take a second or two. */
function nodad(address) {
  return address.includes(':') ? ['nodad'] : [];
}
