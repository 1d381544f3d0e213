import test from 'ava';
import { Writer } from '../../src/base/bytes.js';
import type { Family } from '../../src/base/ip.js';
import { decodeFamily, genlRequest, getFamily } from '../../src/codec/genl.js';
import * as ipvs from '../../src/codec/ipvs/commands.js';
import { type RealServer, readDest } from '../../src/codec/ipvs/dest.js';
import {
  type AddressKey,
  IP_VS_SVC_F_ONEPACKET,
  IP_VS_SVC_F_PERSISTENT,
  IP_VS_SVC_F_SCHED1,
  IP_VS_SVC_F_SCHED2,
  readService,
  type ServiceKey,
  type VirtualServer,
} from '../../src/codec/ipvs/service.js';
import { ack, type Message, NLMSG_DONE, NLMSG_ERROR, parseMessages } from '../../src/codec/netlink.js';
import {
  answer,
  DEST,
  dest,
  FAMILY,
  golden,
  IPPROTO_SCTP,
  mark,
  only,
  part,
  SERVICE,
  service,
  tcp,
  udp,
  written,
} from '../support/ipvs-messages.js';

const { requests: ipvsadm } = golden<{ requests: { command: string; errno: number; hex: string }[] }>('ipvsadm');
const { requests: own } = golden<{ requests: { name: string; errno: number; hex: string }[] }>('own');

const ESRCH = 3;
const ENOENT = 2;

function recorded(words: string): { hex: string } {
  const found = ipvsadm.find(({ command }) => command === `ipvsadm ${words}`);
  if (!found) throw new Error(`no recording of ipvsadm ${words}`);
  return found;
}

/** A dump has the order of a hash table. */
const sorted = (rows: object[]): object[] => [...rows].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));

/** What each ipvsadm command asks for, in our words. */
const SERVICES: Record<string, VirtualServer> = {
  '-A -f 256 -s rr': service(mark(256)),
  '-A -f 257 -6 -s wrr': service(mark(257, 6), { scheduler: 'wrr' }),
  '-A -t 10.0.0.200:80 -s rr': service(tcp('10.0.0.200', 80)),
  '-A -u 10.0.0.200:53 -s sh -b sh-port,sh-fallback': service(udp('10.0.0.200', 53), {
    scheduler: 'sh',
    flags: IP_VS_SVC_F_SCHED1 | IP_VS_SVC_F_SCHED2,
  }),
  '-A -u 10.0.0.201:53 -s rr -o': service(udp('10.0.0.201', 53), { flags: IP_VS_SVC_F_ONEPACKET }),
  '-A -t [fd00::200]:443 -s lc -p 600 -M 64': service(tcp('fd00::200', 443), {
    scheduler: 'lc',
    flags: IP_VS_SVC_F_PERSISTENT,
    timeout: 600,
    netmask: 'ffff:ffff:ffff:ffff::',
  }),
  '-A -t 10.0.0.202:80 -s wrr -p 300 -M 255.255.255.0': service(tcp('10.0.0.202', 80), {
    scheduler: 'wrr',
    flags: IP_VS_SVC_F_PERSISTENT,
    timeout: 300,
    netmask: '255.255.255.0',
  }),
  '-A -u 10.0.0.203:5060 -s rr -p 60 --pe sip': service(udp('10.0.0.203', 5060), {
    flags: IP_VS_SVC_F_PERSISTENT,
    timeout: 60,
    engine: 'sip',
  }),
  '-A --sctp-service 10.0.0.204:9 -s rr': service({ ...tcp('10.0.0.204', 9), protocol: IPPROTO_SCTP }),
  '-A -f 300 -s nosuch': service(mark(300), { scheduler: 'nosuch' }),
  '-E -f 256 -s wrr -p 120': service(mark(256), { scheduler: 'wrr', flags: IP_VS_SVC_F_PERSISTENT, timeout: 120 }),
  '-E -f 256 -s rr': service(mark(256)),
};

const DESTS: Record<string, [ServiceKey, RealServer]> = {
  '-a -f 256 -r 10.0.0.11:0 -g -w 1': [mark(256), dest('10.0.0.11')],
  '-a -f 256 -r 10.0.0.12:0 -g -w 0': [mark(256), dest('10.0.0.12', { weight: 0 })],
  '-a -f 257 -6 -r [fd00::11]:0 -g -w 3': [mark(257, 6), dest('fd00::11', { weight: 3 })],
  '-a -t 10.0.0.200:80 -r 10.0.0.11:8080 -m -w 2 -x 100 -y 50': [
    tcp('10.0.0.200', 80),
    dest('10.0.0.11', { port: 8080, method: 'masq', weight: 2, upper: 100, lower: 50 }),
  ],
  '-a -t 10.0.0.200:80 -r 10.0.0.12:80 -i -w 2': [
    tcp('10.0.0.200', 80),
    dest('10.0.0.12', { port: 80, method: 'tunnel', weight: 2 }),
  ],
  '-a -t 10.0.0.200:80 -r [fd00::13]:80 -i': [tcp('10.0.0.200', 80), dest('fd00::13', { port: 80, method: 'tunnel' })],
  '-a -t [fd00::200]:443 -r [fd00::11]:8443 -m': [
    tcp('fd00::200', 443),
    dest('fd00::11', { port: 8443, method: 'masq' }),
  ],
  '-e -f 256 -r 10.0.0.11:0 -g -w 0': [mark(256), dest('10.0.0.11', { weight: 0 })],
};

test('services are the bytes that ipvsadm sends', (t) => {
  for (const [words, wish] of Object.entries(SERVICES)) {
    const sent = recorded(words);
    const encode = words.startsWith('-A') ? ipvs.newService : ipvs.setService;
    const ours = only(written((w, to) => encode(w, to, wish)).toString('hex'));
    t.deepEqual(Buffer.from(ours.body), Buffer.from(only(sent.hex).body), words);
    t.deepEqual({ type: ours.type, flags: ours.flags }, { type: FAMILY, flags: 5 }, words);
    t.deepEqual(readService(part(only(sent.hex), SERVICE)), wish, words);
  }
});

test('real servers mean what ipvsadm sends', (t) => {
  for (const [words, [key, wish]] of Object.entries(DESTS)) {
    const sent = recorded(words);
    const theirs = only(sent.hex);
    const encode = words.startsWith('-a') ? ipvs.newDest : ipvs.setDest;
    const ours = only(written((w, to) => encode(w, to, key, wish)).toString('hex'));
    t.is(ours.body[0], theirs.body[0], `command of ${words}`);
    t.deepEqual(readDest(part(ours, DEST), key.family), readDest(part(theirs, DEST), key.family), words);
    t.like(readDest(part(theirs, DEST), key.family), wish, words);
    t.deepEqual(readService(part(ours, SERVICE)).key, readService(part(theirs, SERVICE)).key, words);
  }
});

test('timeouts are the bytes that ipvsadm sends', (t) => {
  const sent = recorded('--set 7500 120 300');
  const ours = written((w, to) => ipvs.setConfig(w, to, { tcp: 7500, tcpFin: 120, udp: 300 }));
  t.is(ours.subarray(16).toString('hex'), sent.hex.slice(32));
});

const A4: AddressKey = tcp('10.0.0.200', 80);
const A6: AddressKey = udp('fd00::200', 53);

/** The requests of test/golden/ipvs/own.json, which a real kernel took. */
const OWN: Record<string, (w: Writer, to: ipvs.IpvsTarget) => void> = {
  getfamily: (w, to) => getFamily(w, { name: ipvs.IPVS_GENL_NAME, seq: to.seq }),
  'new-m4': (w, to) => ipvs.newService(w, to, service(mark(256))),
  'new-a6': (w, to) => ipvs.newService(w, to, service(A6, { scheduler: 'sh', flags: 0x18 })),
  'new-none': (w, to) => ipvs.newService(w, to, service(mark(0xffffffff), { scheduler: 'none' })),
  'set-m4': (w, to) => ipvs.setService(w, to, service(mark(256), { scheduler: 'wrr' })),
  'set-missing': (w, to) => ipvs.setService(w, to, service(mark(999))),
  'dest-m4': (w, to) => ipvs.newDest(w, to, mark(256), dest('10.0.0.11')),
  'dest-m4-b': (w, to) => ipvs.newDest(w, to, mark(256), dest('10.0.0.12', { weight: 0, upper: 100, lower: 50 })),
  'dest-m4-v6-tunnel': (w, to) => ipvs.newDest(w, to, mark(256), dest('fd00::12', { method: 'tunnel' })),
  'dest-a6': (w, to) => ipvs.newDest(w, to, A6, dest('fd00::11', { port: 53, method: 'masq' })),
  setdest: (w, to) => ipvs.setDest(w, to, mark(256), dest('10.0.0.11', { weight: 0 })),
  deldest: (w, to) => ipvs.deleteDest(w, to, mark(256), { addr: '10.0.0.12', port: 0 }),
  'deldest-missing': (w, to) => ipvs.deleteDest(w, to, mark(256), { addr: '10.0.0.12', port: 0 }),
  'get-a4': (w, to) => ipvs.getService(w, to, A4),
  'dump-services': ipvs.dumpServices,
  'dump-dests-a4': (w, to) => ipvs.dumpDests(w, to, A4),
  getconfig: ipvs.getConfig,
  'setconfig-udp': (w, to) => ipvs.setConfig(w, to, { udp: 100 }),
  getinfo: ipvs.getInfo,
  'delservice-m4': (w, to) => ipvs.deleteService(w, to, mark(256)),
  'delservice-missing': (w, to) => ipvs.deleteService(w, to, mark(256)),
};

test('our requests are the ones a kernel was seen to take', (t) => {
  for (const [name, write] of Object.entries(OWN)) {
    const sent = own.find((one) => one.name === name);
    if (!sent) throw new Error(`no recording of ${name}`);
    t.is(written(write, only(sent.hex).seq).toString('hex'), sent.hex, name);
    t.is(sent.errno, { 'set-missing': ESRCH, 'delservice-missing': ESRCH, 'deldest-missing': ENOENT }[name] ?? 0, name);
  }
});

test('decodes a dump of services', (t) => {
  const messages = answer('dump-services');
  t.deepEqual(ack(messages.pop() as Message), { errno: 0 });
  const seen = messages.map(ipvs.decodeService).map(({ stats, ...one }) => {
    t.is(stats?.connections, 0n);
    return one;
  });
  t.deepEqual(
    sorted(seen),
    sorted([
      service(mark(256), { scheduler: 'wrr' }),
      service(mark(256, 6)),
      service(mark(0xffffffff), { scheduler: 'none' }),
      service(A4, { scheduler: 'wrr', flags: IP_VS_SVC_F_PERSISTENT, timeout: 300, netmask: '255.255.255.0' }),
      service(A6, { scheduler: 'sh', flags: IP_VS_SVC_F_SCHED1 | IP_VS_SVC_F_SCHED2 }),
      service(udp('10.0.0.203', 5060), { flags: IP_VS_SVC_F_PERSISTENT, timeout: 60, engine: 'sip' }),
    ]),
  );
});

test('decodes one service, and its absence', (t) => {
  const [one, done] = answer('get-m4') as [Message, Message];
  t.like(ipvs.decodeService(one), service(mark(256), { scheduler: 'wrr' }));
  t.deepEqual(ack(done), { errno: 0 });
  t.deepEqual(answer('get-missing').map(ack), [{ errno: ESRCH }]);
});

test('decodes dumps of real servers', (t) => {
  const dests = (name: string, of: Family) =>
    answer(name)
      .filter(({ type }) => type === FAMILY)
      .map((m) => ipvs.decodeDest(m, of))
      .map(({ stats, ...one }) => {
        t.is(stats?.inBytes, 0n);
        return one;
      });
  const idle = { active: 0, inactive: 0, persistent: 0 };
  t.deepEqual(dests('dump-dests-m6', 6), [{ ...dest('fd00::11'), ...idle }]);
  t.deepEqual(dests('dump-dests-a4', 4), [{ ...dest('10.0.0.11', { port: 8080, method: 'masq' }), ...idle }]);
  t.deepEqual(
    sorted(dests('dump-dests-m4', 4)),
    sorted([
      { ...dest('10.0.0.11', { weight: 0 }), ...idle },
      { ...dest('10.0.0.13', { weight: 65536 }), ...idle },
      { ...dest('127.0.0.1', { method: 'masq' }), ...idle },
      { ...dest('fd00::12', { method: 'tunnel' }), ...idle },
    ]),
  );
});

test('a dump for a service that is not there is empty and no error', (t) => {
  const messages = answer('dump-dests-missing');
  t.deepEqual(
    messages.map(({ type }) => type),
    [NLMSG_DONE],
  );
  t.deepEqual(messages.map(ack), [{ errno: 0 }]);
});

test('decodes timeouts and info', (t) => {
  t.deepEqual(ipvs.decodeConfig(answer('getconfig')[0] as Message), { tcp: 900, tcpFin: 120, udp: 300 });
  t.deepEqual(ipvs.decodeConfig(answer('getconfig2')[0] as Message), { tcp: 900, tcpFin: 120, udp: 100 });
  t.deepEqual(ipvs.decodeInfo(answer('getinfo')[0] as Message), { version: '1.2.1', tableSize: 4096 });
});

test('decodes families with and without groups', (t) => {
  t.deepEqual(decodeFamily(answer('family IPVS')[0] as Message), {
    id: FAMILY,
    name: 'IPVS',
    version: 1,
    groups: new Map(),
  });
  t.deepEqual(decodeFamily(answer('family nlctrl')[0] as Message), {
    id: 16,
    name: 'nlctrl',
    version: 2,
    groups: new Map([['notify', 16]]),
  });
  t.deepEqual(
    answer('family NOSUCH').map((m) => [m.type, ack(m).errno]),
    [[NLMSG_ERROR, ENOENT]],
  );
});

test('refuses what the kernel would misunderstand', (t) => {
  const refused = (code: string, write: (w: Writer, to: ipvs.IpvsTarget) => void) => {
    const w = new Writer();
    t.throws(() => write(w, { family: FAMILY, seq: 1 }), { code } as never);
    t.is(w.length, 0, 'nothing is left of a refused request');
  };
  const bad = 'WEFT_INVALID_ARGUMENT';
  refused(bad, (w, to) => ipvs.newService(w, to, service(mark(0))));
  refused(bad, (w, to) => ipvs.newService(w, to, service(mark(2 ** 32))));
  refused(bad, (w, to) => ipvs.newService(w, to, service(mark(1), { scheduler: '' })));
  refused(bad, (w, to) => ipvs.newService(w, to, service(mark(1), { scheduler: 'sixteen-letters-' })));
  refused(bad, (w, to) => ipvs.newService(w, to, service(mark(1), { engine: 'a\0b' })));
  refused(bad, (w, to) => ipvs.newService(w, to, service(mark(1, 6), { netmask: '::' })));
  refused(bad, (w, to) => ipvs.newService(w, to, service(mark(1, 6), { netmask: 'ffff::ffff' })));
  refused('WEFT_INVALID_ADDRESS', (w, to) => ipvs.newService(w, to, service(mark(1), { netmask: 'ffff::' })));
  refused('WEFT_INVALID_ADDRESS', (w, to) => ipvs.newService(w, to, service({ ...A4, family: 6 })));
  refused('WEFT_INVALID_ADDRESS', (w, to) => ipvs.newService(w, to, service({ ...A4, addr: '10.0.0' })));
  refused('WEFT_INVALID_PORT', (w, to) => ipvs.newService(w, to, service({ ...A4, protocol: 1 })));
  refused(bad, (w, to) => ipvs.newService(w, to, service({ ...A4, port: 65536 })));
  refused(bad, (w, to) => ipvs.newDest(w, to, A4, dest('10.0.0.11', { weight: -1 })));
  refused(bad, (w, to) => ipvs.newDest(w, to, A4, dest('10.0.0.11', { weight: 2 ** 31 })));
  refused(bad, (w, to) => ipvs.newDest(w, to, A4, dest('10.0.0.11', { upper: 1, lower: 2 })));
  refused(bad, (w, to) => ipvs.setConfig(w, to, { tcp: 0 }));
  refused(bad, (w, to) => getFamily(w, { name: 'sixteen-letters-', seq: to.seq }));
});

test('a batch keeps its messages apart', (t) => {
  const w = new Writer();
  for (let seq = 1; seq <= 100; seq++) {
    ipvs.newDest(w, { family: FAMILY, seq }, mark(256), dest(`10.0.${seq}.1`));
  }
  const messages = [...parseMessages(w.done())];
  t.deepEqual(
    messages.map(({ seq }) => seq),
    Array.from({ length: 100 }, (_, i) => i + 1),
  );
  t.is(ipvs.decodeDest(messages[41] as Message, 4).addr, '10.0.42.1');
});

test('an answer to another command is refused', (t) => {
  const w = new Writer();
  genlRequest(w, { family: FAMILY, command: 12, version: 1, flags: 0, seq: 1 }, () => {});
  const m = only(w.done().toString('hex'));
  t.throws(() => ipvs.decodeService(m), { code: 'WEFT_INTERNAL' } as never);
  t.throws(() => decodeFamily(m), { code: 'WEFT_INTERNAL' } as never);
});
