import { WeftError } from '../base/errors.js';
import { newlyPublished, type PortHolder } from '../model/published.js';
import type { Service } from '../model/service.js';
import type { AgentPort } from './agent.js';

/**
 * Refuses to publish a port on which a program of this node listens: it would go deaf without a word. What a service had
 * published before stays published, whoever came since.
 * @throws WEFT_CONFLICT naming the program
 */
export async function refuseTaken(
  agent: AgentPort,
  changes: readonly { before: Service | undefined; after: Service }[],
): Promise<void> {
  const fresh = changes.flatMap(({ before, after }) => newlyPublished(before, after));
  if (fresh.length === 0) return;
  const [holder] = (await agent.portHolders(fresh)).filter(({ pid }) => pid !== process.pid);
  if (!holder) return;
  const { port, proto, address } = holder;
  throw new WeftError(
    'WEFT_CONFLICT',
    `port ${port}/${proto} is taken on this node: ${holderText(holder)} listens on ${address}`,
    'stop it, or publish another port',
    { ...holder },
  );
}

function holderText({ pid, program }: PortHolder): string {
  if (pid === undefined) return 'a process that is not to be seen from here';
  return program === undefined ? `pid ${pid}` : `${program} (pid ${pid})`;
}
