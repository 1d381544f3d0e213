/** Requests of rtnetlink come in fours from RTM_BASE: new, delete, get, set (linux/rtnetlink.h). */
const RTM_BASE = 16;
const RTM_GET = 2;
/** NFNL_MSG_BATCH_BEGIN of linux/netfilter/nfnetlink.h: changes come in batches, questions do not. */
const NFNL_MSG_BATCH_BEGIN = '0x10';
/** GENL_ID_CTRL of linux/genetlink.h: asks which families there are. */
const GENL_ID_CTRL = '0x10';
/** IPVS_CMD_GET_{SERVICE,DEST,DAEMON,CONFIG,INFO} of linux/ip_vs.h, the first byte after the header. */
const IPVS_QUESTION = /nlmsg_pid=0\}, "\\x0[48bdf]\\x01/;
/** What the agent tries in a throw-away namespace to learn what the kernel can do has a chain of this name. */
const PROBE_CHAIN = [...'probe'].map((c) => `\\x${c.charCodeAt(0).toString(16)}`).join('');

/** Ends the line of a call that had not come back when another thread's was printed. */
const UNFINISHED = ' <unfinished ...>';

/** Options for `strace` that make a trace which `writesIn` reads. The traced program keeps its place in the tree. */
export const STRACE = ['strace', '-f', '-D', '-xx', '-s', '65536', '-e', 'trace=socket,sendmsg,sendto,openat,execve'];

/**
 * The lines of a trace by which a program changes the kernel: netlink requests that are no questions, sysctls opened
 * for writing, programs started that are no questions.
 */
export function writesIn(trace: string): string[] {
  const lines = joined(trace);
  const programs = new Set(lines.filter((line) => /execve\(.*= 0$/.test(line)).map(pidOf));
  // The first is the agent itself; what it starts speaks for itself by its name.
  programs.delete(pidOf(lines[0] ?? ''));
  const sockets = new Map<string, string>();
  return lines.filter((line) => {
    if (line.includes('execve(')) return / = 0$/.test(line) && startsChange(line);
    if (programs.has(pidOf(line))) return false;
    const opened = /socket\(AF_NETLINK, [^,]+, (\w+)\)\s+= (\d+)/.exec(line);
    if (opened) sockets.set(opened[2] as string, opened[1] as string);
    if (/openat\(.*O_(WRONLY|RDWR)/.test(line)) return decoded(line).includes('/proc/sys/');
    return isRequest(line) && !isQuestion(line, sockets);
  });
}

/** How many netlink requests a trace shows: a trace without any proves nothing. */
export const requestsIn = (trace: string): number => trace.split('\n').filter(isRequest).length;

/** Lines of a trace, with calls that another thread's line cut in two put together again. */
function joined(trace: string): string[] {
  const out: string[] = [];
  const begun = new Map<string, string>();
  for (const line of trace.split('\n')) {
    const resumed = /<\.\.\. \w+ resumed>(.*)$/.exec(line);
    if (line.endsWith(UNFINISHED)) begun.set(pidOf(line), line.slice(0, -UNFINISHED.length));
    else if (resumed) out.push(`${begun.get(pidOf(line)) ?? line}${resumed[1]}`);
    else out.push(line);
  }
  return out;
}

const pidOf = (line: string): string => line.split(' ')[0] ?? '';
const isRequest = (line: string): boolean => /send(msg|to)\(.*nlmsg_type=/.test(line);
const decoded = (line: string): string =>
  line.replace(/\\x([0-9a-f]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));

function isQuestion(line: string, sockets: ReadonlyMap<string, string>): boolean {
  const protocol = sockets.get(/send(?:msg|to)\((\d+)/.exec(line)?.[1] ?? '');
  const types = [...line.matchAll(/nlmsg_type=(\w+)/g)].map((found) => found[1] as string);
  if (protocol === 'NETLINK_GENERIC') return types.every((type) => type === GENL_ID_CTRL) || IPVS_QUESTION.test(line);
  if (protocol === 'NETLINK_NETFILTER') return types[0] !== NFNL_MSG_BATCH_BEGIN || line.includes(PROBE_CHAIN);
  return types.every((type) => type.includes('_GET') || (Number(type) - RTM_BASE) % 4 === RTM_GET);
}

function startsChange(line: string): boolean {
  const words = decoded(line);
  return !/execve\("[^"]*(node|nsenter)"/.test(words) && !/-save"|"--version"/.test(words);
}
