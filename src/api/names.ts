import { WeftError } from '../base/errors.js';
import type { InspectRow } from './agent.js';
import type { Reply, Request } from './http.js';
import type { Route } from './router.js';

/** A resource record in the words of a zone file. `ttl` in seconds. */
export interface DnsRecord {
  name: string;
  ttl: number;
  type: string;
  value: string;
}

/** What the resolver of a sandbox answered. */
export interface DnsAnswer {
  /** What was asked for: the reverse name where an address was given. */
  name: string;
  type: string;
  /** The word for the response code: NOERROR, NXDOMAIN, SERVFAIL… */
  status: string;
  transport: 'udp' | 'tcp';
  ms: number;
  records: DnsRecord[];
}

/** Names as the API asks for them. */
export interface NamesPort {
  /** Names of the networks that sandboxes here are on, and whether the resolver has them. */
  list(): Promise<InspectRow[]>;
  query(sandbox: string, name: string, type: string): Promise<DnsAnswer>;
  /** Are names answered as of this revision of the wish? */
  isTold(revision: number): boolean;
  /** @returns ends it */
  onTold(listener: () => void): () => void;
}

/** Before the route of the other views: its pattern would match too. */
export function nameRoutes(agent: { readonly names: NamesPort }): Route[] {
  return [
    {
      method: 'GET',
      path: '/v1/inspect/dns',
      summary: 'names by network, marked where the resolver lacks them; with `name`, what a sandbox is answered',
      query: {
        sandbox: 'whose resolver to ask',
        name: 'ask for this name, from inside the sandbox',
        type: 'record type, A when not given; with PTR the name may be an address',
      },
      run: async (request): Promise<Reply> => {
        const name = request.query.get('name');
        if (name === null) return { body: { items: await agent.names.list() } };
        return { body: await agent.names.query(sandboxOf(request), name, request.query.get('type') ?? 'A') };
      },
    },
  ];
}

function sandboxOf(request: Request): string {
  const sandbox = request.query.get('sandbox');
  if (sandbox !== null) return sandbox;
  throw new WeftError('WEFT_INVALID_ARGUMENT', 'sandbox is missing', 'each sandbox has a resolver of its own');
}
