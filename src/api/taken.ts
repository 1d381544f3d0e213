import { concernsPorts, type Mutation, withMutations } from '../state/wish.js';
import type { AgentPort } from './agent.js';

/**
 * Makes a change once the ports that it publishes are this node's: a program that listens there would go deaf without a
 * word. What was published before stays published, whoever came since.
 * @param change tells what would change, and changes nothing yet
 * @throws WEFT_CONFLICT naming the program
 */
export async function withPorts<T>(agent: AgentPort, change: () => readonly Mutation[], commit: () => T): Promise<T> {
  const { wish } = agent.store;
  const mutations = change();
  if (!mutations.some((m) => concernsPorts(m, wish))) return commit();
  try {
    await agent.ports.claim(withMutations(wish, mutations));
    return commit();
  } finally {
    agent.ports.settle();
  }
}
