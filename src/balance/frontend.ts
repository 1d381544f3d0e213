import type { Family, Ip } from '../base/ip.js';
import { meta, type Term, th } from '../codec/nft/build.js';
import { type DataType, type KeyField, keyHex } from '../codec/nft/types.js';
import { words } from '../network/bridge-table.js';
import type { Frontend } from './backends.js';
import type { Arena } from './balancer.js';

/** What names a frontend in a frame: the VIP alone, or address, protocol and port on the ingress network. */
export function frontendTerms(arena: Arena, of: Family): Term<DataType>[] {
  return arena.ingress ? [words[of].daddr, meta.l4proto, th.dport] : [words[of].daddr];
}

export function frontendTypes(arena: Arena, of: Family): DataType[] {
  return arena.ingress ? [words[of].address, 'inet_proto', 'inet_service'] : [words[of].address];
}

/** Key of a frontend followed by further fields. */
export function frontendKey(
  of: Family,
  frontend: Frontend,
  more: readonly (readonly [KeyField, number])[] = [],
): string {
  const types: KeyField[] = [words[of].address];
  const values: (Ip | number)[] = [frontend.ip];
  if (frontend.port) {
    types.push('inet_proto', 'inet_service');
    values.push(frontend.port.proto, frontend.port.number);
  }
  for (const [type, value] of more) {
    types.push(type);
    values.push(value);
  }
  return keyHex(types, values as never);
}
