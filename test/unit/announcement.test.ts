import test from 'ava';
import { announcement } from '../../src/codec/announcement.js';

test('a gratuitous ARP request', (t) => {
  // As `arping -U` sends it, by tcpdump: Request who-has 10.20.0.7 tell 10.20.0.7.
  const expected =
    'ffffffffffff02420a1400070806' + '00010800060400010' + '2420a1400070a140007' + '000000000000' + '0a140007';
  t.is(announcement('10.20.0.7', '02:42:0a:14:00:07').toString('hex'), expected);
});

test('an unsolicited neighbour advertisement, whose checksum is right', (t) => {
  const frame = announcement('fd20::7', '02:43:01:02:03:04');
  t.is(frame.subarray(0, 14).toString('hex'), '33330000000102430102030486dd');
  const [ip, icmp] = [frame.subarray(14, 54), frame.subarray(54)];
  t.is(ip.toString('hex', 0, 8), '6000000000203aff');
  t.is(icmp.toString('hex', 0, 2), '8800');
  t.is(icmp.toString('hex', 4), `20000000${'fd20'.padEnd(31, '0')}7${'0201'}024301020304`);
  // The sum over pseudo-header and message, checksum included, is all ones.
  const pseudo = Buffer.concat([ip.subarray(8), Buffer.from([0, 0, 0, icmp.length, 0, 0, 0, 58])]);
  const words = Buffer.concat([pseudo, icmp]);
  let sum = 0;
  for (let i = 0; i < words.length; i += 2) sum += words.readUInt16BE(i);
  t.is((sum & 0xffff) + (sum >>> 16), 0xffff);
});
