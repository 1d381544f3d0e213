import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Command } from 'commander';
import { verifyCommand } from '../../src/commands/verify.js';

const difference = (key: string) => ({
  ...{ difference: 'differs', namespace: 'b1', kind: 'sysctl', key, object: 'endpoint/b1:app' },
  ...{ why: 'is 0, wanted 1', since: '2026-11-20T12:00:00.000Z' },
});
const [A, B, C] = ['a', 'b', 'c'].map(difference);

interface Run {
  stdout: string;
  exitCode: number;
  asked: string[];
}

/** `weft verify` with an agent that finds these differences, in turn. */
async function verify(t: ExecutionContext, args: string[], ...found: object[][]): Promise<Run> {
  const dir = mkdtempSync(join(tmpdir(), 'weft-verify-'));
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    const body = request.method === 'POST' ? { operations: 1 } : { items: found.shift() };
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(join(dir, 's'), resolve));
  const { write } = process.stdout;
  let stdout = '';
  process.stdout.write = (chunk: string | Uint8Array): boolean => {
    stdout += String(chunk);
    return true;
  };
  t.teardown(() => {
    server.close();
    rmSync(dir, { recursive: true });
    process.exitCode = 0;
  });
  try {
    const program = new Command('weft').option('--socket <path>').enablePositionalOptions();
    verifyCommand(program);
    await program.parseAsync(['--socket', join(dir, 's'), 'verify', ...args], { from: 'user' });
    return { stdout, exitCode: Number(process.exitCode ?? 0), asked };
  } finally {
    process.stdout.write = write;
    process.exitCode = 0;
  }
}

test.serial('nothing differs: exit status 0, and nothing to repair', async (t) => {
  const { stdout, exitCode, asked } = await verify(t, ['--repair', '-j'], []);
  t.deepEqual([JSON.parse(stdout), exitCode, asked], [[], 0, ['GET /v1/verify']]);
});

test.serial('what differs is listed and gives exit status 1', async (t) => {
  const { stdout, exitCode } = await verify(t, ['-o', 'name'], [A as object, B as object]);
  t.is(stdout, 'b1 sysctl a\nb1 sysctl b\n');
  t.is(exitCode, 1);
});

test.serial('all repaired: said, and exit status 0', async (t) => {
  const { stdout, exitCode, asked } = await verify(t, ['--repair', '-j'], [A as object], []);
  t.deepEqual(JSON.parse(stdout), [{ repaired: true, ...A }]);
  t.is(exitCode, 0);
  t.deepEqual(asked, ['GET /v1/verify', 'POST /v1/reconcile', 'GET /v1/verify']);
});

test.serial('what is left, or came meanwhile, is not repaired', async (t) => {
  const { stdout, exitCode } = await verify(t, ['--repair'], [A as object, B as object], [B as object, C as object]);
  const rows = stdout.split('\n').map((line) => line.split(/\s+/).slice(0, 5).join(' '));
  t.deepEqual(rows.slice(1, 4), ['true differs b1 sysctl a', 'false differs b1 sysctl b', 'false differs b1 sysctl c']);
  t.is(exitCode, 1);
});
