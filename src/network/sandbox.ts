import { nameOf, type Stored } from '../model/registry.js';
import type { Wants, World } from './world.js';

/** Does weft make (and delete) the sandbox's namespace, or was it handed over? */
const isOwnSandbox = (sandbox: Stored<'sandboxes'>): boolean =>
  sandbox.spec.netns === undefined && sandbox.spec.pid === undefined;

/** Is the namespace its own, and no other sandbox's or the node's? Only then weft has anything in it in its name. */
export const hasOwnNamespace = ({ spec }: Stored<'sandboxes'>): boolean => !spec.host && spec.share === undefined;

/** What a sandbox has besides its endpoints. */
export function sandboxObjects(_world: World, sandbox: Stored<'sandboxes'>, wants: Wants): void {
  const why = nameOf(sandbox);
  if (isOwnSandbox(sandbox)) wants.namespace(sandbox.id, why);
  // The resolver listens on 127.0.0.11, and a container expects its loopback to work.
  else wants.add(sandbox.id, 'link', why, { name: 'lo', type: 'present', up: true });
}
