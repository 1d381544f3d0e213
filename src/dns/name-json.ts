import { ipBytes } from '../base/ip.js';
import { TYPE } from './constants.js';
import { invalid, natural, object, strings } from './json.js';
import type { Rdata } from './record.js';
import { type Backend, Backends, type Served, type ServedPort } from './served.js';
import type { NameEntry } from './view.js';

/** Octets of one string of a TXT record (RFC 1035 section 3.3.14); who reads it joins them. */
const STRING_BYTES = 255;

/** What stands under one name. @throws WEFT_INVALID_* naming the field */
export function parseName(json: unknown, at: string): NameEntry {
  const fields = object(json, at, ['a?', 'aaaa?', 'served?', 'txt?']);
  const served = list(fields.served, `${at}.served`, parseServed);
  const backends = served.flatMap((one) => [...one.backends]);
  const texts = fields.txt === undefined ? [] : strings(fields.txt, `${at}.txt`);
  const addresses = (key: 'a' | 'aaaa') => {
    const own = fields[key] === undefined ? [] : strings(fields[key], `${at}.${key}`);
    return packed([...own, ...backends.flatMap((backend) => backend[key] ?? [])], key, at);
  };
  return {
    a: addresses('a'),
    aaaa: addresses('aaaa'),
    ...(served.length > 0 && { served }),
    ...(texts.length > 0 && { txt: texts.map(textRecord) }),
  };
}

function parseServed(json: unknown, at: string): Served {
  const fields = object(json, at, ['backends', 'ports?']);
  const backends = new Backends(list(fields.backends, `${at}.backends`, parseBackend));
  return { backends, ports: list(fields.ports, `${at}.ports`, parsePort) };
}

function parseBackend(json: unknown, at: string): Backend {
  const { a, aaaa, weight = 1, priority = 0 } = object(json, at, ['a?', 'aaaa?', 'weight?', 'priority?']);
  if (a === undefined && aaaa === undefined) throw invalid(at, 'it has no address');
  const address = (ip: unknown, key: 'a' | 'aaaa') =>
    ip === undefined ? undefined : addressBytes(string(ip, `${at}.${key}`), key, at);
  return {
    a: address(a, 'a'),
    aaaa: address(aaaa, 'aaaa'),
    weight: natural(weight, `${at}.weight`, 0xffff),
    priority: natural(priority, `${at}.priority`, 0xff),
  };
}

function parsePort(json: unknown, at: string): ServedPort {
  const { proto, name, ...numbers } = object(json, at, ['proto', 'from', 'to', 'target', 'name?']);
  const [from, to, target] = ['from', 'to', 'target'].map((key) => natural(numbers[key], `${at}.${key}`, 0xffff));
  return {
    ...{ proto: string(proto, `${at}.proto`), from: from as number, to: to as number, target: target as number },
    ...(name !== undefined && { name: string(name, `${at}.name`) }),
  };
}

function packed(addresses: readonly (string | Uint8Array)[], key: 'a' | 'aaaa', at: string): Uint8Array {
  const width = key === 'a' ? 4 : 16;
  const out = new Uint8Array(addresses.length * width);
  for (const [i, address] of addresses.entries()) {
    out.set(typeof address === 'string' ? addressBytes(address, key, at) : address, i * width);
  }
  return out;
}

function addressBytes(text: string, key: 'a' | 'aaaa', at: string): Uint8Array {
  const bytes = ipBytes(text);
  if (bytes.length === (key === 'a' ? 4 : 16)) return bytes;
  throw invalid(`${at}.${key}`, `${text} is of the other address family`);
}

function textRecord(text: string): Rdata {
  const bytes = Buffer.from(text);
  const count = Math.max(1, Math.ceil(bytes.length / STRING_BYTES));
  const parts = Array.from({ length: count }, (_, i) => bytes.subarray(i * STRING_BYTES, (i + 1) * STRING_BYTES));
  return { type: TYPE.TXT, strings: parts };
}

function string(json: unknown, at: string): string {
  if (typeof json === 'string') return json;
  throw invalid(at, 'not a string');
}

/** None where there is none. */
function list<T>(json: unknown, at: string, parse: (entry: unknown, at: string) => T): T[] {
  if (json === undefined) return [];
  if (!Array.isArray(json)) throw invalid(at, 'not a list');
  return json.map((entry, i) => parse(entry, `${at}.${i}`));
}
