import { InvalidArgumentError } from 'commander';
import type { Row } from './output.js';
import { given } from './shared.js';

const FORM =
  /^(?:(?:(?<hostIp>\[[^\]]+\]|[^:[\]]+):)?(?:(?<published>\d+)(?:-(?<end>\d+))?)?:)?(?<target>\d+)(?:\/(?<proto>\w+))?$/;

/** `[HOSTIP:][PUBLISHED[-END]:]TARGET[/proto][,mode=ingress|host][,policy=cluster|local][,allow=CIDR]` as the API takes it. */
export function parsePublish(text: string): Row {
  const [head = '', ...extras] = text.split(',');
  const match = FORM.exec(head);
  if (!match?.groups) throw new InvalidArgumentError(`"${text}" is not [HOSTIP:][PUBLISHED[-END]:]TARGET[/proto]`);
  const { hostIp, published, end, target, proto } = match.groups;
  const out: Row = given({
    hostIp: hostIp?.replace(/^\[|\]$/g, ''),
    published: published === undefined ? undefined : Number(published),
    publishedEnd: end === undefined ? undefined : Number(end),
    target: Number(target),
    proto,
  });
  for (const extra of extras) {
    const [key, value] = extra.split('=');
    if ((key === 'mode' || key === 'policy') && value) out[key] = value;
    else if (key === 'allow' && value) out.allow = [...((out.allow as string[]) ?? []), value];
    else throw new InvalidArgumentError(`"${extra}" is none of mode=…, policy=… and allow=CIDR`);
  }
  return out;
}

/** `[HOSTIP:]PUBLISHED[/proto]`: a port that is there. */
export function parsePublished(text: string): { hostIp: string | undefined; published: number; proto: string } {
  const match = /^(?:(?<hostIp>\[[^\]]+\]|[^:[\]]+):)?(?<published>\d+)(?:\/(?<proto>\w+))?$/.exec(text);
  if (!match?.groups) throw new InvalidArgumentError(`"${text}" is not [HOSTIP:]PUBLISHED[/proto]`);
  const { hostIp, published, proto = 'tcp' } = match.groups;
  return { hostIp: hostIp?.replace(/^\[|\]$/g, ''), published: Number(published), proto };
}

/** A published port of an object, as it is written. */
export function publishedText(p: Row): string {
  const ip = p.hostIp === undefined ? '' : String(p.hostIp);
  const host = ip === '' ? '' : `${ip.includes(':') ? `[${ip}]` : ip}:`;
  const end = p.publishedEnd === undefined ? '' : `-${String(p.publishedEnd)}`;
  const published = p.published === 0 ? '' : `${String(p.published)}${end}:`;
  return `${host}${host && !published ? ':' : ''}${published}${String(p.target)}/${String(p.proto)}`;
}
