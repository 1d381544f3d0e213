/** What became of the queries since the resolver started, all sandboxes together: of each one thing but its transport. */
export interface Counters {
  udp: number;
  tcp: number;
  /** Answered from the view with records, and without. */
  answered: number;
  nodata: number;
  nxdomain: number;
  /** Answered as a name server said just then, as one said before, or as one said before its answer ran out. */
  forwarded: number;
  cached: number;
  stale: number;
  /** Answered with SERVFAIL: no name server replied, too many queries wait for one, or it is one of our own come back. */
  failed: number;
  limited: number;
  looped: number;
  /** Answered with FORMERR, NOTIMP, REFUSED or BADVERS. */
  rejected: number;
  /** Not answered: no message, or a response. */
  ignored: number;
  /** Replies that the kernel refused to send, connections that it could not hand over. */
  socketErrors: number;
}

export function newCounters(): Counters {
  return {
    udp: 0,
    tcp: 0,
    answered: 0,
    nodata: 0,
    nxdomain: 0,
    forwarded: 0,
    cached: 0,
    stale: 0,
    failed: 0,
    limited: 0,
    looped: 0,
    rejected: 0,
    ignored: 0,
    socketErrors: 0,
  };
}
