import test from 'ava';
import { parseListeners } from '../../src/codec/proc-net.js';

const TCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 31337 1 0000000000000000 100 0 0 10 0
   1: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0
   2: 4701A8C0:D3A2 4801A8C0:1F90 01 00000000:00000000 00:00000000 00000000     0        0 815 1 0000000000000000 20 4 30 10 -1
`;
const TCP6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0000000000000000 100 0 0 10 0
   1: B80D0120000000000000000001000000:0051 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0000000000000000 100 0 0 10 0
   2: 0000000000000000FFFF00000100007F:0052 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3 1 0000000000000000 100 0 0 10 0
`;
const UDP = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  100: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 77 2 0000000000000000 0
  101: 4701A8C0:8235 4801A8C0:0035 01 00000000:00000000 00:00000000 00000000     0        0 78 2 0000000000000000 0
`;

test('listeners of TCP: address, port and inode; connections are left out', (t) => {
  t.deepEqual(parseListeners(TCP, 'tcp'), [
    { proto: 'tcp', address: '0.0.0.0', port: 8080, inode: 31337 },
    { proto: 'tcp', address: '127.0.0.1', port: 22, inode: 4711 },
  ]);
});

test('IPv6 addresses are four words of the host', (t) => {
  t.deepEqual(
    parseListeners(TCP6, 'tcp').map(({ address, port }) => [address, port]),
    [
      ['::', 80],
      ['2001:db8::1', 81],
      ['::ffff:127.0.0.1', 82],
    ],
  );
});

test('a UDP socket without a peer listens, one with a peer does not', (t) => {
  t.deepEqual(parseListeners(UDP, 'udp'), [{ proto: 'udp', address: '0.0.0.0', port: 53, inode: 77 }]);
});

test('a file without sockets, and an address that is none', (t) => {
  t.deepEqual(parseListeners('  sl  local_address\n', 'tcp'), []);
  t.throws(() => parseListeners(TCP.replace('00000000:1F90', '000000:1F90'), 'tcp'), { code: 'WEFT_INTERNAL' });
});
