import { spawn } from 'node:child_process';
import type { Test } from 'tap';
import { canonicalIp, type Family, withPort } from '../../src/base/ip.js';
import { endpointMac } from '../../src/base/mac.js';
import type { Proto } from './flow.js';
import { patient, until } from './lab.js';
import type { Tally } from './load.js';
import {
  appAddress,
  CLIENT,
  ingressAddress,
  type MeshLab,
  type NodeNumber,
  PUBLISHED,
  REPLICA_NAMES,
  REPLICAS,
  type Replica,
  TARGET,
  underlay,
  VIP,
} from './mesh-lab.js';
import { asked, missing } from './needs.js';
import { vxlanPayload } from './vxlan-frame.js';

/*
 * Ports of the mesh beyond the plain one: on one address, of a node's own tasks only, for some sources, in ranges, and with
 * the caller's address hidden. Scenes for a mesh that stands, each of which leaves it as it was.
 */

const PROTOS: readonly Proto[] = ['tcp', 'udp'];
/** Published on an address of node 1, and on one of node 2 for its own tasks. */
const ADDRESSED = 8081;
const LOCAL = 8082;
const ALLOWED = 8083;
/** First of three; the middle one leads to TARGET. */
const RANGE = 9000;

const both = (port: object): object[] => PROTOS.map((proto) => ({ target: TARGET, ...port, proto }));

/** The plain port, and one of each kind. */
function published(of: Family): object[] {
  return [
    ...both({ published: PUBLISHED }),
    ...both({ published: ADDRESSED, hostIp: underlay(1, of) }),
    ...both({ published: ADDRESSED, hostIp: underlay(2, of), policy: 'local' }),
    ...both({ published: LOCAL, policy: 'local' }),
    ...both({ published: ALLOWED, allow: [`${CLIENT[of]}/${of === 4 ? 32 : 128}`] }),
    ...both({ published: RANGE, publishedEnd: RANGE + 2, target: TARGET - 1 }),
    { published: PUBLISHED, target: TARGET, proto: 'sctp' },
  ];
}

/** Of `times` calls so many by each replica, all of whom saw the same address. */
const evenly = (names: readonly string[], seen: string, times: number): Tally =>
  Object.fromEntries(names.map((name) => [`${name} ${seen}`, times / names.length]));

/** Addresses that callers were seen with; errors as they are. */
const seenAs = (tally: Tally): string[] => [...new Set(Object.keys(tally).map((word) => word.replace(/^b\d /, '')))];

const ALL = REPLICA_NAMES;
const REFUSED = { ECONNREFUSED: 2 };
/** Milliseconds in which nothing shall come. */
const SILENCE = 1000;

/** SCTP by socat, for Node.js speaks none: three callers from outside through a node without a task, and three at the VIP. */
async function sctp(t: Test, lab: MeshLab, of: Family): Promise<void> {
  const servers = ALL.map((name) => {
    const words = ['socat', '-U', `SCTP${of}-LISTEN:${TARGET},fork`, `SYSTEM:echo ${name} $SOCAT_PEERADDR`];
    return spawn('nsenter', [`--net=${lab.pin(REPLICAS[name].node, name)}`, ...words], { stdio: 'ignore' });
  });
  const call = (netns: string, host: string, port: number) => {
    const one = `socat -u SCTP${of}:${withPort(host, port)},connect-timeout=${patient(2000) / 1000} -`;
    const lines = lab.sh(netns, `${one}; ${one}; ${one}`).trim().split('\n');
    return lines
      .map((line) => line.replace(/(\S+) \[?([^\]]+)\]?/, (_, name, ip) => `${name} ${canonicalIp(ip)}`))
      .sort();
  };
  try {
    const listens = (name: Replica) => {
      const ports = lab.sh(lab.pin(REPLICAS[name].node, name), 'cat /proc/net/sctp/eps');
      return ports.split('\n').some((line) => line.trim().split(/\s+/)[5] === `${TARGET}`);
    };
    for (const name of ALL) await until(`${name} listens`, () => listens(name));
    const client = CLIENT[of];
    t.same(
      call(lab.netns('client'), underlay(3, of), PUBLISHED),
      ALL.map((name) => `${name} ${client}`),
      'sctp: outside',
    );
    const c1 = appAddress(11, of);
    t.same(
      call(lab.pin(1, 'c1'), VIP[of], TARGET),
      ALL.map((name) => `${name} ${c1}`),
      'sctp: VIP',
    );
  } finally {
    for (const server of servers) server.kill('SIGKILL');
  }
}

/** Published ports in one family: addresses, policy, sources, ranges; then without the caller's address. */
export function publishScenes(t: Test, lab: MeshLab, of: Family): void {
  const client = CLIENT[of];
  const at = (node: NodeNumber) => underlay(node, of);
  const outside = (proto: Proto, node: NodeNumber, port: number, times: number) =>
    lab.outside.ask(proto, at(node), port, times);

  t.test(`ports of an address, a range, of own tasks, for some, IPv${of}`, async (t) => {
    await lab.service({ publish: published(of) });
    for (const proto of PROTOS) {
      t.same(await outside(proto, 1, ADDRESSED, 3), evenly(ALL, client, 3), `${proto}: of an address`);
      t.same(await outside(proto, 2, ADDRESSED, 2), { [`b3 ${client}`]: 2 }, `${proto}: the same number of another`);
      t.same(await outside(proto, 3, ADDRESSED, 2), REFUSED, `${proto}: other addresses are closed`);
      if (of === 4)
        t.same(await lab.onNode(1).ask(proto, '127.0.0.1', ADDRESSED, 2), REFUSED, `${proto}: 127.0.0.1 too`);
      t.same(await outside(proto, 1, LOCAL, 4), evenly(['b1', 'b2'], client, 4), `${proto}: tasks of node 1 only`);
      t.same(await outside(proto, 2, LOCAL, 2), { [`b3 ${client}`]: 2 }, `${proto}: tasks of node 2 only`);
      t.same(await outside(proto, 3, LOCAL, 2), REFUSED, `${proto}: a node without one`);
      t.same(await outside(proto, 3, ALLOWED, 3), evenly(ALL, client, 3), `${proto}: an allowed source`);
      t.same(await lab.onNode(3).ask(proto, at(1), ALLOWED, 1, SILENCE), { ETIMEDOUT: 1 }, `${proto}: another`);
      t.same(await outside(proto, 3, RANGE, 2), REFUSED, `${proto}: first of the range, where nobody serves`);
      t.same(await outside(proto, 3, RANGE + 1, 3), evenly(ALL, client, 3), `${proto}: second`);
      t.same(seenAs(await lab.replica('b1').ask(proto, at(1), PUBLISHED, 3)), [at(1)], `${proto}: a replica itself`);
    }
    if (missing(['sctp', 'socat']) === '') await sctp(t, lab, of);
    // Where none of a node's own takes new connections, those that are about to end do. The family makes no difference.
    if (asked(of === 4)) {
      await lab.change('b3', { state: 'draining' });
      for (const proto of PROTOS) t.same(await outside(proto, 2, LOCAL, 1), { [`b3 ${client}`]: 1 }, proto);
      await lab.change('b3', {});
    }
  });

  t.test(`callers appear as where they were balanced, IPv${of}`, async (t) => {
    await lab.service({ clientIp: 'snat' });
    t.same(await outside('tcp', 1, ADDRESSED, 2), REFUSED, 'what is published no longer is refused');
    const gateway = of === 4 ? '10.20.0.1' : 'fd20::1';
    for (const proto of PROTOS) {
      for (const node of [1, 3] as const)
        t.same(seenAs(await outside(proto, node, PUBLISHED, 3)), [at(node)], `${proto} through node ${node}`);
      for (const from of [lab.container(1), lab.container(3), lab.replica('b1')])
        t.same(await from.ask(proto, VIP[of], TARGET, 3), evenly(ALL, gateway, 3), `${proto}, VIP from ${from.name}`);
    }
    await lab.service({});
    t.same(seenAs(await outside('tcp', 3, PUBLISHED, 3)), [client], 'and as themselves again');
  });

  t.test(`tasks on the ingress network are reached by published ports alone, IPv${of}`, async (t) => {
    for (const name of ['b2', 'b3'] as const) {
      const host = ingressAddress(REPLICAS[name].host, of);
      t.same(await lab.replica('b1').ask('tcp', host, TARGET, 1, SILENCE), { ETIMEDOUT: 1 }, `${name} by another task`);
    }
    // As a task would whose frames pass for answers: the leg of a node takes nothing that it did not ask for.
    for (const there of [underlay(1, of), CLIENT[of]]) {
      const call = `ping -c1 -W1 -I ${ingressAddress(101, of)} ${there} || true`;
      t.match(lab.sh(lab.pin(1, 'net-ingress'), call), '100% packet loss', `${there} by the leg of the node`);
    }
    if (of === 4) await tunnelled(t, lab);
  });
}

/** Sends hex bytes from an address to a data path port. */
const SEND = `const s = require('node:dgram').createSocket('udp4');
s.bind(0, process.argv[1], () => s.send(Buffer.from(process.argv[3], 'hex'), 4789, process.argv[2], () => s.close()));`;
const CLOSED_PORT = 9;

/** A frame of a replica's, in a datagram of its node's: from there it arrives, but not where a task on ingress sends it. */
async function tunnelled(t: Test, lab: MeshLab): Promise<void> {
  const [from, to] = [appAddress(REPLICAS.b3.host), appAddress(REPLICAS.b1.host)];
  const vni = (await lab.api(1).get<{ vni: number }>('/v1/networks/app')).vni;
  const macs = { fromMac: endpointMac(from), toMac: endpointMac(to) };
  const bytes = vxlanPayload({ vni, ...macs, from, to, port: CLOSED_PORT, text: 'forged' }).toString('hex');
  const send = (netns: string) => {
    const code = `${process.execPath} -e "$CODE" ${underlay(2)} ${underlay(1)} ${bytes}`;
    return lab.sh(netns, `CODE=$(cat <<'END'\n${SEND}\nEND\n)\n${code}`);
  };
  const arrived = () => {
    const counters = lab.sh(lab.pin(1, 'b1'), 'cat /proc/net/snmp').match(/^Udp: \d+ (\d+)/m);
    return Number(counters?.[1]);
  };
  const before = arrived();
  const ingress = lab.pin(1, 'net-ingress');
  // A node that is not strict about sources: it would say nothing of the address.
  const strictness = (value: string) => {
    const of = ['all', 'weft-in'].map((dev) => [`net/ipv4/conf/${dev}/rp_filter`, value]);
    lab.sysctls(lab.netns(1), Object.fromEntries(of));
  };
  lab.sh(ingress, `ip addr add ${underlay(2)}/32 dev lo`);
  strictness('0');
  try {
    send(ingress);
  } finally {
    strictness('1');
    lab.sh(ingress, `ip addr del ${underlay(2)}/32 dev lo`);
  }
  send(lab.netns(2));
  await until('the frame from its own node arrives', () => arrived() > before);
  t.equal(arrived(), before + 1, 'the one by the leg does not');
}
