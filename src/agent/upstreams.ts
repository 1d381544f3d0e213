import { readFileSync } from 'node:fs';
import { type Ip, ipBytes } from '../base/ip.js';
import { parseServer, serverText } from '../dns/server-address.js';

/** Where the node's own programs find their name servers. */
const RESOLV_CONF = '/etc/resolv.conf';
/** Where systemd-resolved answers on the node itself, and the servers that it asks (systemd-resolved.service(8)). */
const STUBS: readonly string[] = ['127.0.0.53', '127.0.0.54'];
const UPLINKS = '/run/systemd/resolve/resolv.conf';
/** Of the network namespace that we are in, and so is the resolver. */
const UDP_SOCKETS = '/proc/self/net/udp';
/** MAXNS of resolv.h: what a file lists beyond that, nobody asks. */
const MAXNS = 3;
/** "If no nameserver entries are present, the default is to use the name server on the local machine", resolv.conf(5). */
const LOCAL = '127.0.0.1';

/** The name servers that a resolv.conf(5) names, as its readers take them: lines they cannot read do not count. */
export function nameServersOf(text: string): string[] {
  const servers = text.split('\n').flatMap((line) => {
    const [, address] = /^nameserver[ \t]+(\S+)/.exec(line) ?? [];
    return address === undefined ? [] : readable(address);
  });
  return servers.length > 0 ? servers.slice(0, MAXNS) : [LOCAL];
}

function readable(address: string): string[] {
  try {
    return [serverText(parseServer(address))];
  } catch {
    return [];
  }
}

/** The node's name servers now: those of resolv.conf, or those behind systemd-resolved where only it is named, elsewhere. */
export function nodeNameServers(): string[] {
  const named = nameServersOf(textOf(RESOLV_CONF) ?? '');
  if (!named.every((server) => STUBS.includes(server))) return named;
  const sockets = textOf(UDP_SOCKETS) ?? '';
  const uplinks = named.some((server) => isBound(sockets, server)) ? undefined : textOf(UPLINKS);
  return uplinks === undefined ? named : nameServersOf(uplinks);
}

/**
 * Does a socket receive at port 53 of an IPv4 address?
 * @param sockets as /proc/net/udp lists them: addresses are written as the machine's own numbers, ports as they read
 */
export function isBound(sockets: string, address: Ip): boolean {
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).reverse().toString('hex').toUpperCase();
  const local = new Set([hex(ipBytes(address)), hex(new Uint8Array(4))].map((word) => `${word}:0035`));
  return sockets.split('\n').some((line) => local.has(line.trim().split(/\s+/)[1] ?? ''));
}

/** A missing file is an empty one, as the libraries see it. */
function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
