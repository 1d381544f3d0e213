import { readFileSync } from 'node:fs';
import { parseServer, serverText } from '../dns/server-address.js';

/** Where the node's own programs find their name servers. */
const RESOLV_CONF = '/etc/resolv.conf';
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

/** The node's name servers now. A missing file is an empty one, as the libraries see it. */
export function nodeNameServers(): string[] {
  try {
    return nameServersOf(readFileSync(RESOLV_CONF, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [LOCAL];
    throw error;
  }
}
