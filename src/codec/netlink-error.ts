import { WeftError } from '../base/errors.js';
import { type Ack, errnoName } from './netlink.js';

/** What was tried on what, in the words of the kernel object. */
export interface Attempt {
  /** `add`, `replace`, `delete`, `observe`, … */
  operation: string;
  /** Kind of kernel object: `link`, `neighbour`, … */
  kind: string;
  key: string;
  /** Name of the network namespace, as the agent calls it. */
  namespace: string;
}

/** What to do about refusals whose cause is known, by kind and errno. */
const HINTS: Readonly<Record<string, string>> = {
  'fdb EAFNOSUPPORT': 'its VTEP is not of the family that this node advertises: start all nodes with one family',
};

/** A refusal of the kernel as WEFT_NETLINK; details are {operation, kind, key, namespace, errno, extack}. */
export function netlinkError(attempt: Attempt, ack: Ack): WeftError {
  const { operation, kind, key, namespace } = attempt;
  const errno = errnoName(ack.errno);
  const why = ack.text === undefined ? errno : `${errno}: ${ack.text}`;
  const hint = HINTS[`${kind} ${errno}`];
  return new WeftError('WEFT_NETLINK', `cannot ${operation} ${kind} ${key} in ${namespace}: ${why}`, hint, {
    operation,
    kind,
    key,
    namespace,
    errno,
    ...(ack.text !== undefined && { extack: ack.text }),
  });
}
