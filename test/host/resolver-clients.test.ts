import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { TYPE } from '../../src/dns/constants.js';
import { Lab, outcomeOf, patient, until } from '../support/lab.js';
import { needs } from '../support/needs.js';
import { nameServer, reply } from '../support/resolver-world.js';

/** Prints what getaddrinfo(3) finds, an address a line. */
const GETADDRINFO = `
#include <netdb.h>
#include <stdio.h>
#include <arpa/inet.h>
int main(int argc, char **argv) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
  int failed = getaddrinfo(argv[1], 0, &hints, &found);
  char text[64];
  if (failed || argc < 2) return puts("failed"), 1;
  for (; found; found = found->ai_next) {
    void *address = found->ai_family == AF_INET ? (void *)&((struct sockaddr_in *)found->ai_addr)->sin_addr
                                                : (void *)&((struct sockaddr_in6 *)found->ai_addr)->sin6_addr;
    puts(inet_ntop(found->ai_family, address, text, sizeof text));
  }
  return 0;
}
`;

const DIG = ['+tries=1', '+time=8', '+short'];
const python = (what: string) => [
  '/usr/bin/python3',
  '-c',
  `import dns.resolver, sys; print(*[r.address for r in dns.resolver.resolve(sys.argv[1], ${what})], sep="\\n")`,
];
const node = (call: string) => [
  process.execPath,
  '-e',
  `require('dns').${call}(e, all) => { if (e) process.exit(1); for (const a of all) console.log(a.address ?? a); });`,
];

/** Of all those, how a program asks for the addresses of the name that is put behind. */
const CLIENTS: Record<string, (dir: string) => string[]> = {
  'glibc, getaddrinfo': (dir) => [join(dir, 'gai-glibc')],
  'musl, getaddrinfo': (dir) => [join(dir, 'gai-musl')],
  'glibc, getent ahosts': () => ['getent', 'ahostsv4'],
  'busybox nslookup': () => ['busybox', 'nslookup'],
  dig: () => ['dig', ...DIG],
  'dig by TCP': () => ['dig', ...DIG, '+tcp'],
  kdig: () => ['kdig', '+short', '+retry=0', '+timeout=8'],
  'kdig by TCP': () => ['kdig', '+short', '+tcp', '+timeout=8'],
  drill: () => ['drill', '-Q'],
  dnspython: () => python('"A"'),
  'dnspython by TCP': () => python('"A", tcp=True'),
  'Node, lookup': () => node('lookup(process.argv[1], { all: true }, '),
  'Node, resolve4': () => node('resolve4(process.argv[1], '),
};

if (needs(t, ['root', 'ip', 'dig', 'kdig', 'drill', 'busybox', 'musl-gcc', 'dnspython', 'veth', 'bridge', 'vxlan'])) {
  const lab = await Lab.up({ nodes: 1, agents: false });
  const n1 = lab.node(1);
  const etc = join(lab.dir, 'etc');
  await outcomeOf('cp', ['-a', '/etc', etc]);
  await outcomeOf('rm', ['-f', join(etc, 'resolv.conf')]);
  writeFileSync(join(etc, 'resolv.conf'), 'nameserver 127.0.0.51\n');
  let addressesAsked = 0;
  const upstream = await nameServer(`/run/netns/${n1.ns}`, '127.0.0.51', (query) => {
    const { name = '', type } = query.questions[0] ?? {};
    if (type === TYPE.A) addressesAsked++;
    else return [reply(query, '', 0)];
    return [name.toLowerCase() === 'big.example' ? reply(query, '192.0.2.*', 60) : reply(query, '192.0.2.1')];
  });
  t.teardown(async () => {
    await upstream.close();
    await lab.down();
  });
  const ownEtc = ['unshare', '--mount', 'sh', '-c', `mount --bind ${etc} /etc && exec "$@"`, 'sh'];
  await n1.start([], ownEtc);
  const put = (path: string, body: object) => n1.api.put(`/v1/${path}?wait=applied&timeoutMs=${patient(10_000)}`, body);
  await put('networks/app', { subnets: ['10.20.0.0/24'], vni: 4097 });
  await put('services/web3', { networks: ['app'], mode: 'dnsrr' });
  for (const [sandbox, last] of [
    ['c1', 11],
    ['b1', 21],
    ['b2', 22],
    ['b3', 23],
  ] as const) {
    await put(`sandboxes/${sandbox}`, {});
    const service = sandbox === 'c1' ? {} : { service: 'web3' };
    await put(`endpoints/${sandbox}:app`, { addresses: [`10.20.0.${last}`], ...service });
  }

  const programs = join(lab.dir, 'programs');
  mkdirSync(programs);
  writeFileSync(join(programs, 'gai.c'), GETADDRINFO);
  for (const [compiler, program] of [
    ['gcc', 'gai-glibc'],
    ['musl-gcc', 'gai-musl'],
  ] as const) {
    const { code, stderr } = await outcomeOf(compiler, ['-o', join(programs, program), join(programs, 'gai.c')]);
    if (code !== 0) throw new Error(stderr);
  }

  /** Exit status and IPv4 addresses of each client for a name, the resolver's own left out; in one go, in the sandbox. */
  async function found(name: string): Promise<Record<string, { code: number; addresses: string[] }>> {
    const lines = Object.entries(CLIENTS).map(([client, command]) => {
      const words = [...command(programs), name].map((word) => `'${word.replaceAll("'", `'\\''`)}'`);
      return `echo '== ${client}'; ${words.join(' ')} 2>&1; echo "-- $?"`;
    });
    const said = await n1.must('sandbox', 'exec', 'c1', '--', 'sh', '-c', lines.join('\n'));
    const parts = said.split(/^== /m).slice(1);
    return Object.fromEntries(
      parts.map((part) => {
        const [client = '', ...rest] = part.split('\n');
        const addresses = new Set(rest.join('\n').match(/\b\d+\.\d+\.\d+\.\d+\b/g) ?? []);
        addresses.delete('127.0.0.11');
        return [client, { code: Number(/^-- (\d+)$/m.exec(part)?.[1]), addresses: [...addresses].sort() }];
      }),
    );
  }

  t.test('three addresses and none of IPv6: every client has them', async (t) => {
    for (const [client, { addresses }] of Object.entries(await found('web3')))
      t.same(addresses, ['10.20.0.21', '10.20.0.22', '10.20.0.23'], client);
  });

  t.test('a name that does not exist is none for any of them, and is asked nowhere else', async (t) => {
    for (const [client, { code, addresses }] of Object.entries(await found('nosuch'))) {
      t.same(addresses, [], client);
      // These say it in words.
      if (!/dig|drill|nslookup/.test(client)) t.not(code, 0, client);
    }
    t.equal(upstream.asked.udp + upstream.asked.tcp, 0);
  });

  t.test('a forwarded name, in whatever case, costs its server one query', async (t) => {
    for (const [client, { addresses }] of Object.entries(await found('Www.Example.org')))
      t.same(addresses, ['192.0.2.1'], client);
    // Twice where the first answer takes more than a second.
    t.ok(addressesAsked <= 2, `${addressesAsked}`);
  });

  t.test('sixty addresses, more than fit a datagram without EDNS', async (t) => {
    for (const [client, { addresses }] of Object.entries(await found('big.example'))) {
      // musl asks by TCP since 1.2.4, nslookup of busybox never, drill on request: they have what fits.
      if (/musl|busybox|drill/.test(client)) t.ok(addresses.length >= 20, `${client}: ${addresses.length}`);
      else t.equal(addresses.length, 60, client);
    }
  });

  t.test('queries are counted by sandbox and outcome, and timed', async (t) => {
    const { stdout } = await outcomeOf('curl', ['-sS', '--unix-socket', n1.socket, 'http://weft/metrics']);
    const value = (sample: string) =>
      Number(
        stdout
          .split('\n')
          .find((line) => line.startsWith(`${sample} `))
          ?.split(' ')[1],
      );
    const clients = Object.keys(CLIENTS).length;
    for (const outcome of ['answered', 'nxdomain', 'cached']) {
      const count = value(`weft_resolver_sandbox_queries_total{sandbox="c1",outcome="${outcome}"}`);
      t.ok(count >= clients, `${outcome} ${count}`);
    }
    t.notMatch(stdout, 'sandbox="c1",outcome="failed"');
    const forwarded = value('weft_resolver_seconds_count{way="forwarded"}');
    t.ok(forwarded > 0, `${forwarded}`);
    t.equal(value('weft_resolver_seconds_bucket{way="forwarded",le="+Inf"}'), forwarded);
  });

  t.test('every query has a line in the log that is asked for', async (t) => {
    const file = join(lab.dir, 'queries.log');
    await n1.stop();
    await n1.start(['--dns-query-log', file], ownEtc);
    await found('Web3');
    const lines = () =>
      (existsSync(file) ? readFileSync(file, 'utf8') : '')
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as Record<string, unknown>);
    const clients = Object.keys(CLIENTS).length;
    await until('they are written', () => lines().length >= clients);
    const asked = { sandbox: 'c1', name: 'Web3', type: TYPE.A, outcome: 'answered' };
    for (const transport of ['udp', 'tcp'])
      t.ok(
        lines().some((line) => Object.entries({ ...asked, transport }).every(([key, is]) => line[key] === is)),
        transport,
      );
  });
}
