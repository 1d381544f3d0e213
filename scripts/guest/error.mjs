/** A guest could not be booted or reached. The message says what to look at. */
export class WeftGuestError extends Error {
  code = 'WEFT_GUEST';
}
