import { shortDigest } from '../base/digest.js';

/**
 * Host end of a veth: `wf` and 11 hex digits of a SHA-256 (names have 15 bytes at most). `pair` says which pair it is,
 * far end's name included: where that changes it is another pair, for a near end does not show how its far end is called.
 */
export function hostEndName(pair: string): string {
  return `wf${shortDigest(pair, 11)}`;
}

/** Host ends at the gateway bridge begin so: rules of the bridge family tell them by it on kernels without `meta ibrname`. */
export const GATEWAY_ENDS = 'wfg';

/** Host end of a sandbox's leg to the gateway bridge. */
export const gatewayEndName = (sandbox: string): string => `${GATEWAY_ENDS}${hostEndName(sandbox).slice(2)}`;

/** The device that limits what comes in by a host end: `wi` in place of `wf`. */
export const limiterName = (hostEnd: string): string => `wi${hostEnd.slice(2)}`;
