/** What became of the queries since the resolver started, all sandboxes together. */
export interface Counters {
  udp: number;
  tcp: number;
  /** Answered from the view with records, and without. */
  answered: number;
  nodata: number;
  nxdomain: number;
  /** Handed to a name server, and of those the ones that none replied to. */
  forwarded: number;
  failed: number;
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
    failed: 0,
    rejected: 0,
    ignored: 0,
    socketErrors: 0,
  };
}
