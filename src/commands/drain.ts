import type { Command } from 'commander';
import { printJson, type Row } from './output.js';
import { listing, seconds, session } from './shared.js';

/** `drain` and `undrain` of a noun: an endpoint, a service or a node. */
export function drainCommands(noun: Command, what: 'endpoint' | 'service' | 'node', argument: string): void {
  listing(
    noun.command(`drain <${argument}>`).description('give it no new connections, and wait until those it has ended'),
  )
    .option('--timeout <seconds>', 'what is left then is cut; the drain of the service when not given', seconds)
    .action(async (id: string, { timeout }: { timeout?: number }, self: Command) => {
      const { client, format } = session(self);
      const timeoutMs = timeout === undefined ? {} : { timeoutMs: Math.round(timeout * 1000) };
      const shown = await client.post<Row>('/v1/drain', JSON.stringify({ [what]: id, ...timeoutMs }));
      const { backends, left } = shown as { backends: string[]; left: number };
      if (format === 'json') printJson(shown);
      else if (format === 'name') process.stdout.write(backends.map((name) => `${name}\n`).join(''));
      else process.stdout.write(`backends ${backends.length}, connections left ${left}\n`);
    });
  listing(noun.command(`undrain <${argument}>`).description('give it new connections again')).action(
    async (id: string, _options: Row, self: Command) => {
      const { client, format } = session(self);
      const shown = await client.post<Row>('/v1/undrain', JSON.stringify({ [what]: id }));
      const { backends } = shown as { backends: string[] };
      if (format === 'json') printJson(shown);
      else process.stdout.write(backends.map((name) => `${name}\n`).join(''));
    },
  );
}
