import type { Proto } from '../support/flow.js';
import { patient } from '../support/lab.js';
import { CLIENT, NODES, type NodeNumber, PUBLISHED, TARGET, underlay } from '../support/mesh-lab.js';
import { missing } from '../support/needs.js';
import type { Random } from './random.js';
import { changeWeb, MOVING, type Moving, type Services } from './services-world.js';
import type { Operation } from './soak.js';

type Answer = 'answers' | 'refused' | 'silent';

/** A port of web that comes and goes. */
interface Port {
  published: number;
  more: object;
  /** What a client outside gets at a node, in IPv4; undefined where that changes with time. */
  at(soak: Services, node: NodeNumber): Answer | undefined;
}

/** First of three; the middle one leads to TARGET. */
const RANGE = 9000;
const everywhere = (): Answer => 'answers';

const PORTS: readonly Port[] = [
  { published: 8090, more: {}, at: everywhere },
  { published: 8091, more: { hostIp: underlay(1) }, at: (_, node) => (node === 1 ? 'answers' : 'refused') },
  { published: 8092, more: { policy: 'local' }, at: localAnswer },
  { published: 8093, more: { allow: [`${CLIENT[4]}/32`, `${CLIENT[6]}/128`] }, at: everywhere },
  { published: 8094, more: { allow: ['203.0.113.0/24', '2001:db8:ffff::/48'] }, at: () => 'silent' },
  {
    published: RANGE + 1,
    more: { published: RANGE, publishedEnd: RANGE + 2, target: TARGET - 1 },
    at: everywhere,
  },
];

const both = (port: object): object[] => (['tcp', 'udp'] as const).map((proto) => ({ target: TARGET, ...port, proto }));

/** Ports that are always called. */
export const PLAIN: readonly object[] = both({ published: PUBLISHED });

/** Ports that are published at the moment. */
const published = new WeakMap<Services, readonly Port[]>();

export const PUBLISH: Operation<Services> = {
  name: 'publish',
  weight: 2,
  async run(soak, random) {
    // All nodes were told of web over their sockets, and are told of its ports in the same way.
    if (soak.dead.size > 0) return undefined;
    const ports = PORTS.filter(() => random.chance(0.5));
    // Nobody here speaks it; what becomes of its rules is seen where kernels are compared.
    const sctp = random.chance(0.5) && missing(['sctp']) === '';
    const more = ports.flatMap((port) => both({ published: port.published, ...port.more }));
    await changeWeb(soak, {
      publish: [...PLAIN, ...more, ...(sctp ? [{ published: PUBLISHED, target: TARGET, proto: 'sctp' }] : [])],
    });
    published.set(soak, ports);
    return `web at ${ports.map((port) => port.published)} too${sctp ? ', and by SCTP' : ''}`;
  },
};

/** Milliseconds after which there is silence, and those that an answer may take. */
const SILENCE_MS = patient(1000);
const ANSWER_MS = patient(20_000);

/** Each port, published or not, is tried at one of the nodes: all of them know. @throws where it is not as it should be */
export async function portsAnswer(soak: Services, random: Random): Promise<void> {
  const now = published.get(soak) ?? [];
  for (const port of PORTS) {
    const node = random.pick(NODES) as NodeNumber;
    const proto = random.pick<Proto>(['tcp', 'udp']) as Proto;
    const expected = now.includes(port) ? port.at(soak, node) : 'refused';
    if (expected === undefined) continue;
    const patience = expected === 'answers' || (expected === 'refused' && proto === 'tcp') ? ANSWER_MS : SILENCE_MS;
    const tally = await soak.mesh.outside.ask(proto, underlay(node), port.published, 1, patience);
    const [word] = Object.keys(tally) as [string];
    const said = word === 'ECONNREFUSED' ? 'refused' : word === 'ETIMEDOUT' ? 'silent' : 'answers';
    // The kernel sends errors to one address one a second: a datagram that is refused may meet with silence.
    const isExpected = said === expected || (proto === 'udp' && said === 'silent' && expected === 'refused');
    if (!isExpected || (said === 'answers' && word.startsWith('E')))
      throw new Error(`port ${port.published} by ${proto} at n${node} should be: ${expected}, and is: ${word}`);
  }
}

/** Of those that a node has itself one that drains takes callers where no other does, until its time is up. */
function localAnswer({ out }: Services, node: NodeNumber): Answer | undefined {
  const states = Object.entries(MOVING).flatMap(([name, at]) => (at.node === node ? [out.get(name as Moving)] : []));
  if (node === 1 || states.includes(undefined)) return 'answers';
  return states.includes('drained') ? undefined : 'refused';
}
