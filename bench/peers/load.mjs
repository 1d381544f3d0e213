// Writing the rows of many peers into the kernel: by weft's own pass, and by the tools.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { load } from '../lab/dist.mjs';
import { ip, run } from '../lab/run.mjs';
import { forBridge, forIp, peers } from './rows.mjs';

const COUNT = 10_000;
const TUNNEL = [
  'link add br0 type bridge',
  'link add vxlan0 type vxlan id 5 dstport 4789 nolearning proxy',
  'link set vxlan0 master br0',
  'link set br0 up',
  'link set vxlan0 up',
];

/**
 * @param {string} directory for its pins
 * @returns sides that write the rows of 10,000 peers into an empty tunnel, in milliseconds
 */
export async function loadSides(directory) {
  const [{ loadNative }, { Spaces }, { RealKernel }, { Desired, Dirt }, { Pass }, { KINDS }] = await load([
    'kernel/real/native',
    'kernel/real/spaces',
    'kernel/real/kernel',
    'reconcile/desired',
    'reconcile/pass',
    'objects/registry',
  ]);
  const spaces = new Spaces(loadNative(), path.join(directory, 'load'));
  const kernel = new RealKernel(spaces);
  const rows = peers(1, COUNT);
  const [bridgeLines, ipLines] = [forBridge(rows), forIp(rows)];

  /** Measures in a namespace of its own with a tunnel, which is removed again. */
  const inTunnel = async (write) => {
    const ns = 'net-load';
    spaces.create(ns);
    ip(spaces.seenAt(ns), TUNNEL);
    try {
      const began = performance.now();
      await write(ns);
      const took = performance.now() - began;
      const written = run(spaces.seenAt(ns), ['bridge', 'fdb', 'show', 'dev', 'vxlan0']).match(/^02:42/gm)?.length;
      if (written !== 2 * COUNT) throw new Error(`${written} rows were written, not ${2 * COUNT}`);
      return took;
    } finally {
      spaces.remove(ns);
    }
  };

  const byPass = (ns) => {
    const desired = new Desired(KINDS);
    const dirt = new Dirt();
    for (const { ip: address, mac, vtep } of rows) {
      const owner = `peer/${address}`;
      const wanted = (kind, object) => ({ ns, kind, object, because: owner, owner });
      const neighbour = wanted('neighbour', { dev: 'vxlan0', ip: address, mac });
      desired.set(owner, [neighbour, wanted('fdb', { dev: 'vxlan0', mac, dst: vtep, bridge: true })], dirt);
    }
    return async () => {
      kernel.begin();
      const { failed } = await new Pass(kernel, desired, () => undefined, dirt).run();
      kernel.passed();
      if (failed.length > 0) throw failed[0].error;
    };
  };

  return {
    sides: {
      'weft.load': { scale: 'ms', measure: () => inTunnel(byPass('net-load')) },
      'tools.load': {
        scale: 'ms',
        measure: () =>
          inTunnel((ns) => {
            tool(spaces.seenAt(ns), 'bridge', bridgeLines);
            tool(spaces.seenAt(ns), 'ip', ipLines);
          }),
      },
    },
    stop: () => spaces.unmountIfEmpty(),
  };
}

function tool(ns, name, lines) {
  const { status, stderr } = spawnSync('nsenter', [`--net=${ns}`, name, '-batch', '-'], { input: lines });
  if (status !== 0) throw new Error(`${name} -batch failed: ${stderr}`);
}
