/*
 * The state of one network namespace, as ip, bridge, iptables-save, ipvsadm-save, nft and sysctl print it, made comparable:
 * one fact a line, without what the kernel makes by itself, counters, and numbers that are drawn. A line's shape says which
 * program printed it, so recordings need no marks.
 */

/** Of IPv4, and what has no family. */
export const SHOW_STATE = [
  'ip -br addr',
  'ip route show table all',
  'ip rule',
  'ip neigh show nud permanent',
  'bridge fdb show',
  'iptables-save',
  'ipvsadm-save -n',
  'nft list ruleset',
  'ip -d -o link show type vxlan',
  `cd /proc/sys/net/ipv4; grep . ip_forward conf/*/route_localnet vs/conntrack vs/conn_reuse_mode vs/expire_* |
     sed -e 's|^|net.ipv4.|' -e 's|/|.|g' -e 's|:| = |'`,
].join('\n');

/** Of IPv6, besides. */
export const SHOW_STATE6 = ['ip -6 route show table all', 'ip -6 rule', 'ip6tables-save'].join('\n');

const LINK = /^(\S+?)(@\S+)? +(?:UP|DOWN|UNKNOWN) +(.*)$/;
const FDB = /^((?:[0-9a-f]{2}:){5}[0-9a-f]{2}) dev (\S+) (.*)$/;
const NEIGHBOUR = /^(\S+) dev (\S+) lladdr (\S+) PERMANENT/;
const ROUTE = /^(?:default|[\da-f.:]+(?:\/\d+)?) (?:dev|via) /;
/** Made by the kernel: loopback and link-local addresses. */
const OWN_ADDRESS = /^(127\.|::1\/|fe80:)/;
const VXLAN = /^\d+: (vxlan\d+)@.*? mtu (\d+) .*? vxlan (.*)/;
/** Of these sysctls the namespace's own are told, and of links' those that are not the kernel's. */
const SYSCTL = /^net\.ipv4\.(ip_forward|vs\.\S+|conf\.(\S+)\.route_localnet) = (\d+)$/;

/** What one namespace has, by the shapes above. @param text what SHOW_STATE prints there, or a recording of it */
export function factsOf(text: string): string[] {
  const facts: string[] = [];
  let table = '';
  const nft = new NftFacts();
  for (const line of text.split('\n')) {
    if (nft.takes(line)) facts.push(...nft.facts());
    else if (line.startsWith('*')) table = line.slice(1);
    else facts.push(...factsOfLine(line.trimEnd(), table));
  }
  return facts.map(withoutDrawn);
}

function factsOfLine(line: string, table: string): string[] {
  if (/^-[Aa] -f /.test(line)) return [`ipvs: ${line}`];
  if (/^-A /.test(line)) return [`iptables ${table}: ${line.slice(3)}`];
  const link = LINK.exec(line);
  if (link) return linkFacts(link[1] as string, (link[3] as string).split(' '));
  const fdb = FDB.exec(line);
  // Groups, a link's own address, and what was learned are the kernel's; a row of a VLAN repeats the one without.
  if (fdb) return !/static|dst/.test(line) || / vlan /.test(line) ? [] : [`row: ${line}`];
  const neighbour = NEIGHBOUR.exec(line);
  if (neighbour) return [`neighbour: ${neighbour[1]} at ${neighbour[3]} on ${neighbour[2]}`];
  // Those of an address are made with it.
  if (ROUTE.test(line)) return / proto kernel /.test(line) ? [] : [`route: ${line}`];
  const rule = /^(\d+):\tfrom (.*)/.exec(line);
  if (rule) return ['0', '32766', '32767'].includes(rule[1] as string) ? [] : [`rule: ${rule[1]} from ${rule[2]}`];
  const vxlan = VXLAN.exec(line);
  if (vxlan) return vxlanFacts(vxlan[1] as string, vxlan[2] as string, vxlan[3] as string);
  const sysctl = SYSCTL.exec(line);
  if (!sysctl || (sysctl[2] && sysctl[3] === '0')) return [];
  return [`sysctl: net.ipv4.${sysctl[1]} = ${sysctl[3]}`];
}

const linkFacts = (name: string, addresses: string[]): string[] =>
  name === 'lo'
    ? []
    : [
        `link: ${name}`,
        ...addresses.filter((one) => one !== '' && !OWN_ADDRESS.test(one)).map((one) => `address: ${one} on ${name}`),
      ];

/** Each option is a fact. A recording that ends in the middle of the line has what comes before. */
function vxlanFacts(name: string, mtu: string, options: string): string[] {
  const words = (options.split('\\')[0] as string).match(
    /(id|local|dstport) \S+|nolearning|proxy|l2miss|l3miss|noudpcsum/g,
  );
  return [`mtu ${mtu}`, ...(words ?? [])].map((word) => `tunnel: ${name} ${word}`);
}

const withoutDrawn = (fact: string): string =>
  fact
    .replace(/(127\.0\.0\.11:|--sport )\d{5}\b/g, '$1PORT')
    .replace(/\bveth[0-9a-f]+\b|\bwfg?[0-9a-f]{11,12}\b/g, 'port')
    .replace(/ proto 87| onlink| linkdown| pref medium| metric 1024/g, '')
    .replace(/ link-netnsid \d+| qlen \d+|counter packets \d+ bytes \d+ ?/g, '');

/** Follows `nft list ruleset`: a fact for each rule, and each element of a map. */
class NftFacts {
  #path: string[] = [];
  #open = '';
  #facts: string[] = [];

  /** Whether the line belongs to a ruleset. */
  takes(line: string): boolean {
    if (this.#path.length === 0 && !/^table \S+ \S+ \{$/.test(line)) return false;
    const text = line.trim();
    if (this.#open !== '') this.#element(text);
    else if (/^elements = \{/.test(text)) this.#element(text.replace(/^elements = \{ */, ''));
    else if (text === '}') this.#path.pop();
    else if (/\{$/.test(text)) this.#path.push(text.replace(/^table | \{$/g, ''));
    else if (text !== '') this.#facts.push(`nft ${this.#path.join(', ')}: ${text}`);
    return true;
  }

  /** What was gathered since it was asked last. */
  facts(): string[] {
    return this.#facts.splice(0);
  }

  #element(text: string): void {
    this.#open = /\}$/.test(text) ? '' : 'elements';
    // What expires was put there by packets.
    for (const one of text.replace(/ *\}$/, '').split(/, */))
      if (one && !/ expires /.test(one)) this.#facts.push(`nft ${this.#path.join(', ')}: { ${one} }`);
  }
}
