// `table bridge weft` as text for nft: the balancer of src/balance/nft and the return map of src/network/overlay.
// One difference: nft 1.0.6 stops on an assertion when a rule updates a map with a concatenated key, so flows are
// remembered in a set per backend, and the mark is a constant of the rule that looks there. The look-ups are as many.
// Left out is what no measured packet meets: the note that a first fragment leaves, and the chain of ICMP errors.

const FLOW = 'ip saddr . th sport . meta l4proto . ip daddr . th dport';
const FIRST_FRAGMENT = 'ip frag-off & 0x2000 != 0 jump note4';
const SYN = 'tcp flags & (syn | ack) == syn';

/** A backend's number in marks: its address. @param {string} address */
const mark = (address) =>
  `0x${address
    .split('.')
    .map((byte) => Number(byte).toString(16).padStart(2, '0'))
    .join('')}`;

/**
 * The table of one network's namespace with one service of one backend.
 * @param {{ bridge: string, key: string, frontend: string, backend: import('./by-hand.mjs').Peer }} of `key` is what
 *   names a frontend in a packet, `frontend` its value
 * @param {readonly string[]} [more] further chains and maps
 */
export function balancerTable({ bridge, key, frontend, backend }, more = []) {
  const id = mark(backend.address);
  const toward = (map) => `ether daddr set ${key} . meta mark map @${map}`;
  const recall = (memory) => `${FLOW} @${memory} meta mark set ${id}`;
  const remember = (memory, timeout) => `update @${memory} { ${FLOW} timeout ${timeout} }`;
  const forget = (memory) => `delete @${memory} { ${FLOW} }`;
  const linger = remember('closing4', '30s');
  const chain = (name, ...rules) => [`chain ${name} {`, ...rules.map((rule) => `  ${rule}`), '}'];
  return [
    'table bridge weft {',
    `map svc4 { typeof ${key} : verdict; elements = { ${frontend} : goto svc-web }; }`,
    `map slot4 { typeof ${key} . numgen inc mod 2 : meta mark; elements = { ${frontend} . 0 : ${id} }; }`,
    `map live4 { typeof ${key} . meta mark : ether saddr; counter; elements = { ${frontend} . ${id} : ${backend.mac} }; }`,
    ...['drain4', 'stay4'].map((map) => `map ${map} { typeof ${key} . meta mark : ether saddr; counter; }`),
    `set begun4 { typeof ${key} . meta mark; flags dynamic,timeout; timeout 1d; size 262144; counter; }`,
    ...['flows4', 'closing4', 'talks4'].map(
      (set) => `set ${set} { typeof ${FLOW}; flags dynamic,timeout; size 262144; }`,
    ),
    'map frags4 { typeof ip saddr . ip daddr . ip id . ip protocol : ether saddr; flags dynamic,timeout; size 65536; }',
    ...chain('frag4', 'ether daddr set ip saddr . ip daddr . ip id . ip protocol map @frags4'),
    ...chain('note4'),
    ...chain('close4', forget('flows4'), forget('closing4'), linger),
    ...chain('linger4', linger),
    ...chain(
      'late4',
      recall('closing4'),
      `${toward('live4')} goto linger4`,
      `${toward('drain4')} goto linger4`,
      forget('flows4'),
    ),
    ...chain(
      'touch4',
      FIRST_FRAGMENT,
      `${SYN} return`,
      `tcp flags & rst != 0 ${remember('flows4', '30s')} return`,
      'tcp flags & fin != 0 goto close4',
      remember('flows4', '130m'),
    ),
    ...chain('heard4', FIRST_FRAGMENT, remember('talks4', '5m')),
    ...chain('begin4', `${toward('live4')} update @begun4 { ${key} . meta mark }`, FIRST_FRAGMENT),
    ...chain(
      'learn4',
      `meta l4proto tcp ${remember('flows4', '20s')} goto begin4`,
      `meta l4proto != tcp ${remember('talks4', '5m')} goto begin4`,
      'counter',
      'meta l4proto tcp drop',
      'goto begin4',
    ),
    ...chain('svc-web', `meta mark set ${key} . numgen inc mod 1 map @slot4 goto learn4`),
    ...chain('new4', `${key} vmap @svc4`),
    ...chain(
      'in4',
      'ip frag-off & 0x1fff != 0 goto frag4',
      `${recall('flows4')} ${toward('live4')} goto touch4`,
      `${SYN} meta mark != 0 ${forget('flows4')}`,
      `${SYN} goto new4`,
      `${toward('drain4')} goto touch4`,
      'goto late4',
    ),
    ...chain(
      'talk4',
      'ip frag-off & 0x1fff != 0 goto frag4',
      `${recall('talks4')} ${toward('live4')} goto heard4`,
      `meta l4proto udp ${toward('stay4')} goto heard4`,
      `meta l4proto != udp ${toward('drain4')} goto heard4`,
      `meta mark != 0 ${forget('talks4')}`,
      'goto new4',
    ),
    ...chain('l4-4', 'meta l4proto tcp goto in4', 'meta l4proto udp goto talk4', 'meta l4proto sctp goto talk4'),
    ...chain(
      'balance',
      'type filter hook prerouting priority -150; policy accept;',
      `ether daddr != ${bridge} accept`,
      'meta protocol ip jump l4-4',
      'meta mark != 0 meta mark set 0',
    ),
    ...more,
    '}',
    '',
  ].join('\n');
}

/**
 * The map that sends replies home, for `balancerTable`.
 * @param {string} bridge @param {readonly { address: string, mac: string }[]} legs of all nodes
 */
export function returnMap(bridge, legs) {
  return [
    `map nodes4 { typeof ip saddr : ether saddr; elements = { ${legs.map((l) => `${l.address} : ${l.mac}`).join(', ')} }; }`,
    'chain returns {',
    '  type filter hook prerouting priority -310; policy accept;',
    '  iifname "vxlan0" accept',
    `  ether daddr ${bridge} ether daddr set ip saddr map @nodes4 accept`,
    '  ether daddr set ip saddr map @nodes4 drop',
    '  iifname "wfnode" accept',
    '  meta protocol ip6 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept',
    '  meta protocol { ip, ip6 } drop',
    '}',
  ];
}
