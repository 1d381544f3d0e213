import { ipText } from '../base/ip.js';
import { TYPE } from './constants.js';
import { type Found, findName, zoneOf } from './find.js';
import { type Outcome, ofType } from './outcome.js';
import type { Backend, ServedPort } from './served.js';
import type { NameEntry, SandboxView, View } from './view.js';

/** `_port._proto.SERVICE` (RFC 2782), and `_proto.SERVICE`, which such names are below. */
const PORT_OF = /^_([a-z0-9-]+)\._(tcp|udp|sctp)\.(.+)$/;
const PROTO_OF = /^_(?:tcp|udp|sctp)\.(.+)$/;
/** The name of one backend: its address in front of `tasks.SERVICE`. */
const BACKEND_OF = /^([0-9-]{7,15}|[0-9a-f]{32})\.(tasks\..+)$/;

/**
 * Names that are made of a service's: `_port._proto.SERVICE`, which lists its backends, and the names under which those
 * are listed. Undefined for any other name, and for services that are not there.
 */
export function discover(view: View, sandbox: SandboxView, key: string, type: number): Outcome | undefined {
  const [, port, proto, service] = PORT_OF.exec(key) ?? [];
  const [, label, tasks] = BACKEND_OF.exec(key) ?? [];
  const [, above] = PROTO_OF.exec(key) ?? [];
  const found = findServed(view, sandbox, service ?? tasks ?? above);
  if (found.length === 0) return undefined;
  const zone = zoneOf(view, sandbox, key) ?? 0;
  if (port !== undefined && proto !== undefined) {
    const listed = listedBy(found, port, proto);
    if (!listed) return { kind: 'nxdomain', zone };
    return (type === TYPE.SRV || type === TYPE.ANY) && listed.answers.length > 0 ? listed : { kind: 'nodata', zone };
  }
  if (label === undefined) return { kind: 'nodata', zone };
  const entries = found.flatMap(({ entry }) => backendsOf(entry).filter((backend) => labelOf(backend) === label));
  if (entries.length === 0) return { kind: 'nxdomain', zone };
  return ofType(entries.map(entryOf), type) ?? { kind: 'nodata', zone };
}

/** Entries of `tasks.SERVICE`, given either name of a service. */
function findServed(view: View, sandbox: SandboxView, name: string | undefined): Found[] {
  if (name === undefined) return [];
  const tasks = name.startsWith('tasks.') ? name : `tasks.${name}`;
  return findName(view, sandbox, tasks).filter(({ entry }) => entry.served);
}

/** One SRV record a backend, and the addresses of their targets; undefined where no service has a port of that name. */
function listedBy(found: readonly Found[], port: string, proto: string) {
  const listed: Extract<Outcome, { kind: 'records' }> = { kind: 'records', answers: [], additionals: [] };
  let known = false;
  for (const { network, name, entry } of found) {
    for (const { backends, ports } of entry.served ?? []) {
      const number = portOf(ports, port, proto);
      if (number === undefined) continue;
      known = true;
      for (const backend of backends) {
        const { priority, weight, a, aaaa } = backend;
        const target = `${labelOf(backend)}.${name}.${network.toLowerCase()}`;
        listed.answers.push({ type: TYPE.SRV, priority, weight, port: number, target });
        if (a) listed.additionals.push({ name: target, data: { type: TYPE.A, address: ipText(a) } });
        if (aaaa) listed.additionals.push({ name: target, data: { type: TYPE.AAAA, address: ipText(aaaa) } });
      }
    }
  }
  return known ? listed : undefined;
}

/** The port of a backend to which a port of its service leads: by name, as declared or published, else the same number. */
function portOf(ports: readonly ServedPort[], port: string, proto: string): number | undefined {
  const byName = ports.find((one) => one.proto === proto && one.name === port);
  if (byName) return byName.target;
  const number = /^[1-9]\d{0,4}$/.test(port) ? Number(port) : 0;
  if (number < 1 || number > 65535) return undefined;
  const range = ports.find(({ proto: of, from, to }) => of === proto && from <= number && number <= to);
  return range ? range.target + number - range.from : number;
}

const backendsOf = ({ served }: NameEntry): Backend[] => (served ?? []).flatMap(({ backends }) => [...backends]);

/** `10-20-0-11`, or 32 hexadecimal digits where it has no IPv4 address: a name of its own that nothing can hide. */
const labelOf = ({ a, aaaa }: Backend): string => (a ? a.join('-') : Buffer.from(aaaa as Uint8Array).toString('hex'));

const entryOf = ({ a, aaaa }: Backend): NameEntry => ({ a: a ?? new Uint8Array(), aaaa: aaaa ?? new Uint8Array() });
