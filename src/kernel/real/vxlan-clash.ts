import { readFile } from 'node:fs/promises';
import { WeftError } from '../../base/errors.js';
import { family } from '../../base/ip.js';
import { isMarked, type VxlanLink } from '../../objects/link.js';
import type { HostNamespace } from './host-namespaces.js';
import { deleteVxlan, type HostVxlan, hostVxlans } from './host-vxlans.js';
import { listeners } from './listeners.js';
import type { Spaces } from './spaces.js';

const AGAIN = 'weft tries again by itself';

/** Who has what a tunnel needs for itself: its VNI, or the data path port. */
export class VxlanClashes {
  constructor(readonly spaces: Spaces) {}

  /**
   * Removes what stands in the way and is a leftover of ours: a device with our mark in a namespace that is none of this
   * agent's, as where a process keeps a namespace alive whose pin is gone, or under an earlier run directory.
   * @returns whether something went
   */
  async freeVni(want: VxlanLink): Promise<boolean> {
    let gone = false;
    for (const found of await this.#withVni(want)) {
      if (!(await this.#isLeftover(found))) continue;
      gone = (await deleteVxlan(this.spaces.native, found)) || gone;
    }
    return gone;
  }

  /** The device that has the VNI, after the kernel refused another with EEXIST; undefined where none is found. */
  async vniTaken(want: VxlanLink): Promise<WeftError | undefined> {
    const [found] = await this.#withVni(want);
    if (!found) return undefined;
    const what = `VNI ${want.vni} with UDP port ${want.dstPort}`;
    const own = this.#ownName(found.at);
    const where = own === undefined ? await placeOf(found.at) : `${own}, which weft has yet to remove`;
    const hint =
      own === undefined
        ? `delete that device, or create the network anew with another VNI; ${AGAIN}`
        : `${AGAIN}; weft status says what is held back and why`;
    return clash(`${what} is taken by VXLAN device ${found.name} in ${where}`, hint, want, found);
  }

  /** Who has the data path port, after the kernel refused to bring a device up with EADDRINUSE. */
  async portTaken(want: VxlanLink): Promise<WeftError> {
    const sockets = await listeners(({ proto, port }) => proto === 'udp' && port === want.dstPort);
    const program = sockets.find(({ pid }) => pid !== undefined);
    const what = `UDP port ${want.dstPort}`;
    const other = `give weft another --data-path-port on every node; ${AGAIN}`;
    if (program) {
      const { pid, program: name = 'a program' } = program;
      return clash(`${what} is taken by ${name} (pid ${pid})`, `end it, or ${other}`, want, undefined, pid);
    }
    // Devices of one kind share the socket; one that takes every VNI, or other headers, does not.
    const strangers = (await hostVxlans(this.spaces.native)).filter(
      (found) => found.options.port === want.dstPort && !isMarked(found),
    );
    const found = strangers.find(({ options }) => options.collectMetadata) ?? strangers[0];
    if (!found)
      return clash(`${what} is taken by a tunnel of another kind, or from another pid namespace`, other, want);
    const kind = found.options.collectMetadata ? 'VXLAN device (external: every VNI)' : 'VXLAN device';
    const text = `${what} is taken by ${kind} ${found.name} in ${await placeOf(found.at)}`;
    return clash(text, `delete that device, or ${other}`, want, found);
  }

  async #withVni(want: VxlanLink): Promise<HostVxlan[]> {
    return (await hostVxlans(this.spaces.native)).filter(
      ({ options: { id, port, local } }) =>
        id === want.vni && port === want.dstPort && family(local ?? '0.0.0.0') === family(want.local),
    );
  }

  /** Another agent may live beside us with a run directory of its own: what is its is no leftover. */
  async #isLeftover(found: HostVxlan): Promise<boolean> {
    const { at } = found;
    if (!isMarked(found) || this.#ownName(at) !== undefined) return false;
    const runDir = /^(.*)\/netns\/[^/]+$/.exec(at.pin ?? '')?.[1];
    return runDir === undefined || !(await boundSockets()).includes(`${runDir}/weft.sock`);
  }

  /** The name of a namespace that this agent has pinned. */
  #ownName({ inode }: HostNamespace): string | undefined {
    return this.spaces.pins().find((ns) => Number(this.spaces.open(ns)?.inode) === inode);
  }
}

function clash(text: string, hint: string, { vni, dstPort }: VxlanLink, found?: HostVxlan, pid?: number): WeftError {
  const holder = found && { link: found.name, namespace: found.at.pin ?? found.at.path };
  return new WeftError('WEFT_CONFLICT', text, hint, {
    vni,
    port: dstPort,
    ...holder,
    ...(pid !== undefined && { pid }),
  });
}

async function placeOf({ pin, pid }: HostNamespace): Promise<string> {
  if (pin !== undefined) return pin;
  const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
  return `the namespace of process ${pid}${name && ` (${name.trim()})`}`;
}

/** Paths of the unix sockets in the agent's namespace: the last column of /proc/net/unix. */
async function boundSockets(): Promise<string[]> {
  const text = await readFile('/proc/self/net/unix', 'utf8');
  return text.split('\n').map((line) => line.split(' ').at(-1) ?? '');
}
