import { get } from 'node:http';
import net from 'node:net';
import { WeftError } from '../../base/errors.js';
import { family, type Ip, withPort } from '../../base/ip.js';
import type { Native } from '../../kernel/real/native.js';
import type { Health } from '../../model/health.js';

const ANY = { 4: '0.0.0.0', 6: '::' } as const;

/**
 * One probe of a backend, from a socket born in its own sandbox to the address that callers reach.
 * @param netns path of the sandbox's namespace
 * @throws WEFT_UNAVAILABLE saying what it saw instead of health
 */
export async function probe(native: Native, netns: string, ip: Ip, health: Health): Promise<void> {
  const socket = new net.Socket({ fd: birth(native, netns, ip) });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.setNoDelay(true);
      socket.once('error', reject);
      const late = () => reject(new Error(`no answer within ${health.timeout} s`));
      // An answer that came while the loop was busy counts: timers are looked at before sockets are.
      const timer = setTimeout(() => setImmediate(late), health.timeout * 1000);
      socket.once('close', () => clearTimeout(timer));
      if (health.type === 'tcp') socket.connect(health.port, ip, resolve);
      else ask(socket, ip, health, resolve, reject);
    });
  } catch (error) {
    throw new WeftError('WEFT_UNAVAILABLE', `${health.type} ${withPort(ip, health.port)}: ${(error as Error).message}`);
  } finally {
    socket.destroy();
  }
}

/** A socket in the namespace. @throws WEFT_UNAVAILABLE where it is not there */
function birth(native: Native, netns: string, ip: Ip): number {
  let fd: number | undefined;
  try {
    fd = native.netnsOpen(netns);
    const of = family(ip);
    return native.socketOpen(fd, { type: 'tcp', family: of, address: ANY[of] }).fd;
  } catch (error) {
    throw new WeftError('WEFT_UNAVAILABLE', `no probe from its sandbox: ${(error as Error).message}`);
  } finally {
    if (fd !== undefined) native.closeFd(fd);
  }
}

function ask(
  socket: net.Socket,
  ip: Ip,
  { port, path = '/' }: Health,
  resolve: () => void,
  reject: (why: Error) => void,
): void {
  const headers = { 'user-agent': 'weft', connection: 'close' };
  socket.connect(port, ip, () => {
    const request = get({ host: ip, port, path, headers, createConnection: () => socket }, (response) => {
      response.resume();
      const { statusCode = 0 } = response;
      if (statusCode >= 200 && statusCode < 400) resolve();
      else reject(new Error(`answered ${statusCode}`));
    });
    request.once('error', reject);
  });
}
