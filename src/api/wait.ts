import { WeftError } from '../base/errors.js';
import type { Stored, Table } from '../model/registry.js';
import type { AgentPort } from './agent.js';
import { numberParam, type Request } from './http.js';

/** How long a change is waited for when not told, milliseconds. */
const TIMEOUT_MS = 10_000;

/** Query of whatever changes the wish. */
export const WAIT = {
  wait: '`applied`: answer when the kernel shows it',
  timeoutMs: 'how long to wait, 10000 when not given',
  dryRun: 'check only',
};

/** An object of the wish that was stated; it may be gone, or never have been. */
export interface Named {
  table: Table;
  id: string;
}

/**
 * `?wait=applied`: until the kernel shows what was changed, and the resolver knows of it.
 * @param named objects that were stated: these have to be well, also where nothing of them changed
 * @param revision of the change; the wish's own when not given
 * @throws WEFT_TIMEOUT naming what stands in the way
 */
export async function waitIfAsked(
  agent: AgentPort,
  request: Request,
  named: readonly Named[] = [],
  revision = agent.store.revision,
): Promise<void> {
  const wait = request.query.get('wait');
  if (wait === null) return;
  if (wait !== 'applied')
    throw new WeftError('WEFT_INVALID_ARGUMENT', `wait="${wait}" is unknown`, 'wait=applied is what there is');
  const timeoutMs = numberParam(request, 'timeoutMs', TIMEOUT_MS);
  const { loop, names } = agent;
  const isDone = () => obstacle(agent, revision, named) === undefined;
  await new Promise<void>((resolve, reject) => {
    const end = () => {
      clearTimeout(timer);
      loop.off('pass', passed);
      ignore();
    };
    const passed = () => {
      if (!isDone()) return;
      end();
      resolve();
    };
    // Where it listens now is for the pass that follows to make rules of.
    const ignore = names.onTold(() => {
      if (!loop.isBusy) passed();
    });
    const timer = setTimeout(() => {
      const reason = obstacle(agent, revision, named);
      end();
      const message = `not applied within ${timeoutMs} ms${reason ? `: ${reason}` : ''}`;
      reject(new WeftError('WEFT_TIMEOUT', message, 'weft status shows what is in the way'));
    }, timeoutMs);
    loop.on('pass', passed);
    if (isDone()) passed();
    else loop.hurry();
  });
}

/** Why a change is not applied yet, '' where there is no more to say than that; undefined when it is. */
function obstacle(agent: AgentPort, revision: number, named: readonly Named[]): string | undefined {
  const { loop, names } = agent;
  if (loop.appliedRevision < revision) return '';
  for (const { table, id } of named) {
    const stored = agent.store.get(table, id) as Stored | undefined;
    const { phase, reason = '' } = stored ? agent.statusOf(stored) : { phase: 'ready' };
    if (phase === 'pending' || phase === 'degraded') return reason;
  }
  const failing = loop.obstacle(revision);
  if (failing) return failing.error.message;
  return names.isTold(revision) ? undefined : 'the resolver has not been told of it yet';
}
