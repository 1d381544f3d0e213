// What is asked, and the zones and views that answer it.

/** Zones by name: how many addresses each has, as `n0.ZONE` and so on. */
export const ZONES = { app: 1000, many: 100_000, up: 1000 };
export const TTL = 3600;

const address = (i) => `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`;

/** @returns {{ name: string, address: string }[]} names without the zone's */
export const namesOf = (zone) =>
  Array.from({ length: ZONES[zone] }, (_, i) => ({ name: `n${i}`, address: address(i) }));

/** A zone file. */
export function zoneFile(zone) {
  const rows = namesOf(zone).map((one) => `${one.name} A ${one.address}`);
  return `$ORIGIN ${zone}.\n$TTL ${TTL}\n@ SOA ns nobody 1 3600 1200 604800 60\n@ NS ns\nns A 10.255.0.1\n${rows.join('\n')}\n`;
}

/** Every second letter a capital: what a server sees of a resolver that guards against forgers. */
const mixed = (name) => [...name].map((letter, i) => (i % 2 ? letter.toUpperCase() : letter)).join('');

/** What dnsperf reads: each name once, shuffled the same way each time. @param {string} zone */
export function queryFile(zone, { capitals = false } = {}) {
  const lines = namesOf(zone).map(({ name }) => `${capitals ? mixed(`${name}.${zone}`) : `${name}.${zone}`} A`);
  let seed = 1;
  for (let i = lines.length - 1; i > 0; i--) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const j = seed % (i + 1);
    [lines[i], lines[j]] = [lines[j], lines[i]];
  }
  return `${lines.join('\n')}\n`;
}

/** The view of a resolver with one sandbox, which is on the networks of these zones, and asks 127.0.0.53 for the rest. */
export function viewOf(zones, netns) {
  const network = (zone) => ({
    internal: false,
    names: Object.fromEntries(namesOf(zone).map((one) => [one.name, { a: [one.address] }])),
    ptr: {},
  });
  return {
    revision: 1,
    ttl: TTL,
    upstreams: ['127.0.0.53'],
    sandboxes: { c: { netns, networks: zones } },
    networks: Object.fromEntries(zones.map((zone) => [zone, network(zone)])),
  };
}

/** Names of so many services, as an agent tells of them: the VIP, and the addresses of ten backends. */
export function servicesPatch(count, round) {
  const backends = (i) => Array.from({ length: 10 }, (_, k) => address(((round & 1) << 20) + i * 10 + k));
  const each = Array.from({ length: count }, (_, i) => [
    [`s${i}`, { a: [address(i)] }],
    [`tasks.s${i}`, { served: [{ backends: backends(i).map((a) => ({ a })) }] }],
  ]);
  return { names: { app: { names: Object.fromEntries(each.flat()) } } };
}
