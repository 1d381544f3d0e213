// The benches by name: what each measures, and which ratios it reports. Sides of one bench share their rounds.
import { APP, NUMBER, PUBLISHED, VIP } from './lab/addresses.mjs';
import { MissingPeer } from './lab/lab.mjs';

/**
 * @typedef {{ sides: (lab: import('./lab/lab.mjs').Lab) => Promise<Record<string, import('./rounds.mjs').Side>>,
 *   figures: readonly import('./rounds.mjs').Figure[], told?: Readonly<Record<string, string>> }} Scene `told`: sides that
 *   are no figures and are told as text, with what they are
 */

const time = (measure) => ({ scale: 'us', measure });
const rate = (measure) => ({ scale: 'Gb/s', measure });

const overlay = {
  async sides(lab) {
    const [weft, bare, { traffic }] = [await lab.weft(), await lab.bare(), lab];
    const plain = `${APP.prefix}.${NUMBER.plain}`;
    return {
      'weft.rr': time(() => traffic.established(weft.client, plain)),
      'bare.rr': time(() => traffic.established(bare.client, bare.address)),
      'weft.bulk': rate(() => traffic.bulk(weft.client, plain)),
      'bare.bulk': rate(() => traffic.bulk(bare.client, bare.address)),
    };
  },
  figures: [
    ratio('overlay.rr', 'ratio-time', ['weft.rr', 'bare.rr'], 1.35, 'bare veth-bridge-veth'),
    ratio('overlay.throughput', 'ratio-rate', ['weft.bulk', 'bare.bulk'], 0.7, 'bare veth-bridge-veth'),
  ],
};

const vip = {
  async sides(lab) {
    const [weft, { traffic }] = [await lab.weft(), lab];
    const direct = `${APP.prefix}.${NUMBER.backend}`;
    return {
      'weft.connect': time(() => traffic.connect(weft.client, VIP)),
      'direct.connect': time(() => traffic.connect(weft.client, direct)),
      'snat.connect': await peer(lab.snat(), ({ client }) => time(() => traffic.connect(client, VIP))),
      'shell.connect': await peer(lab.twin(), ({ client }) => time(() => traffic.connect(client, VIP))),
      'weft.established': time(() => traffic.established(weft.client, VIP)),
      'direct.established': time(() => traffic.established(weft.client, direct)),
    };
  },
  figures: [
    ratio('vip.connect', 'ratio-time', ['weft.connect', 'direct.connect'], 1.1, 'the same backend without VIP'),
    ratio(
      'vip.established',
      'ratio-time',
      ['weft.established', 'direct.established'],
      1.08,
      'the same backend without VIP',
    ),
    ratio('vip.snat', 'ratio-time', ['weft.connect', 'snat.connect'], 0.98, 'balancer that rewrites the source'),
    ratio('vip.shell', 'ratio-time', ['weft.connect', 'shell.connect'], 1.05, 'the same path by shell tools'),
  ],
};

const ingress = {
  async sides(lab) {
    const [weft, outside, { traffic }] = [await lab.weft(), await lab.outside(), lab];
    const through = ({ node }) => time(() => traffic.connect(outside, node, PUBLISHED));
    return {
      'weft.connect': through(weft),
      'snat.connect': await peer(lab.snat(), through),
      'shell.connect': await peer(lab.twin(), through),
    };
  },
  figures: [
    ratio('ingress.preserve', 'ratio-time', ['weft.connect', 'snat.connect'], 1.05, 'mesh that rewrites the source'),
    ratio('ingress.shell', 'ratio-time', ['weft.connect', 'shell.connect'], 1.05, 'the same path by shell tools'),
  ],
};

const TOOLS = 'bridge -batch and ip -batch';
const peers = {
  sides: (lab) => lab.peers(),
  figures: [
    ratio('peers.load', 'ratio-time', ['weft.load', 'tools.load'], 0.45, TOOLS),
    ratio('peers.one', 'ratio-time', ['weft.one', 'weft.full'], 0.02, 'all 10,000 by gossip'),
    alone('peers.pass', 'ms', 'weft.pass', 150, 'processor time'),
    alone('peers.rss', 'KiB', 'weft.rss', 1.5, 'a peer, from 10,000 to 50,000'),
    ratio('peers.sandbox', 'ratio-time', ['weft.sandbox', 'shell.sandbox'], 0.3, 'create, then move, by iproute2'),
  ],
};

const IPVS = ['weft.servers', 'ipvsadm.servers', 'ipvs.few', 'ipvs.many'];
const services = {
  async sides(lab) {
    const guest = await peer(lab.guestServices(), (sides) => sides);
    const inGuest = 'missing' in guest ? Object.fromEntries(IPVS.map((name) => [name, guest])) : guest;
    return { ...(await lab.services()), ...inGuest };
  },
  figures: [
    ratio('services.nft.load', 'ratio-time', ['weft.table', 'nft.table'], 1, 'nft -f of the same table'),
    ratio('services.ipvs.load', 'ratio-time', ['weft.servers', 'ipvsadm.servers'], 0.8, 'ipvsadm -R of 2,000 services'),
    ratio('services.one', 'ratio-time', ['weft.one', 'weft.full'], 0.02, 'all 10,000 by gossip'),
    ratio('services.lookup', 'ratio-time', ['nft.many', 'nft.few'], 1.1, 'connection among 10 services'),
    ratio('services.lookup', 'ratio-time', ['ipvs.many', 'ipvs.few'], 1.1, 'the same with ipvs, 2,000 to 10'),
    alone('services.rss', 'MB', 'weft.rss', 300, 'agent with 10,000 services of 10 backends'),
  ],
  told: { 'weft.applied': 'PUT of a service among 1,000 until the kernel shows it, the slowest of 100' },
};

const dnsRates = (kind, goal, peers) =>
  peers.map((name) => ratio(`dns.${kind}`, 'ratio-rate', [`weft.${kind}`, `${name}.${kind}`], goal, name));
const DEDICATED = ['knot', 'nsd', 'unbound'];
const dns = {
  sides: (lab) => lab.dns(),
  figures: [
    ...['plain', 'edns', 'capitals', 'many', 'tcp'].flatMap((kind) => dnsRates(kind, 0.9, DEDICATED)),
    ratio('dns.changing', 'ratio-rate', ['weft.changing', 'knot.plain'], 0.9, 'knot at rest'),
    ...dnsRates('plain', 15, ['aardvark']),
    ...dnsRates('cached', 1, ['unbound']),
    ratio('dns.p99', 'ratio-time', ['weft.p99', 'unbound.p99'], 2, 'unbound'),
    ratio('dns.p99.applying', 'ratio-time', ['weft.applying', 'unbound.p99'], 2, 'unbound at rest'),
    alone('dns.p99.applying', 'ms', 'weft.applying', 1, 'while 10,000 services are told'),
  ],
};

/** @type {Readonly<Record<string, Scene>>} */
export const SCENES = { overlay, vip, ingress, peers, services, dns };

function ratio(id, unit, [ours, theirs], goal, against) {
  return { id, unit, ours, theirs, against, goal };
}

/** A figure of one side. */
function alone(id, unit, ours, goal, against) {
  return { id, unit, ours, against, goal };
}

/** A side of a peer, or why there is none. */
async function peer(made, side) {
  try {
    return side(await made);
  } catch (cause) {
    if (cause instanceof MissingPeer) return { missing: cause.message };
    throw cause;
  }
}
