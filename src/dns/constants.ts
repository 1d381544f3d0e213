/** Numbers of the DNS protocol, under the names of the IANA registry "Domain Name System (DNS) Parameters". */

export const TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  DS: 43,
  DNSKEY: 48,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
} as const;

export const CLASS_IN = 1;

/** RFC 1035 section 4.1.1, RFC 6891 section 9 for BADVERS (its upper bits travel in the OPT record). */
export const RCODE = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5, BADVERS: 16 } as const;

/** Bits of the second 16-bit word of the header: RFC 1035 section 4.1.1, RFC 4035 section 3.1.6 for AD and CD. */
export const FLAG = { QR: 0x8000, AA: 0x0400, TC: 0x0200, RD: 0x0100, RA: 0x0080, AD: 0x0020, CD: 0x0010 } as const;
export const OPCODE_MASK = 0x7800;
export const RCODE_MASK = 0x000f;

export const HEADER_BYTES = 12;
/** An OPT record without options: root name, type, class, ttl, length (RFC 6891 section 6.1.2). */
export const OPT_BYTES = 11;
/** DO, in the 32-bit field that other records use as TTL (RFC 3225). */
export const OPT_DO = 0x8000;

/** What a client without EDNS may be sent over UDP (RFC 1035 section 2.3.4). */
export const UDP_BYTES = 512;
/** The most we send over UDP and offer to take: RFC 6891 section 6.2.5 suggests 4096, and loopback never fragments it. */
export const UDP_BYTES_MAX = 4096;
export const TCP_BYTES_MAX = 65535;

/** Octets of a name on the wire and of one label (RFC 1035 section 2.3.4). */
export const NAME_BYTES_MAX = 255;
export const LABEL_BYTES_MAX = 63;
