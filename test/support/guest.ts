/**
 * The guests of scripts/guest for compiled tests, with types. Compiled files lie in build/test/support, one folder
 * deeper than their sources: a static import could not name the same file in both places.
 */

/** Result of a script in a guest: exit code (128 + signal where one ended it), output, process group. */
export type Outcome = { code: number; stdout: string; stderr: string; pid: number; timedOut: boolean };

export type RunOptions = {
  /** After this the script's process group gets SIGKILL. */
  timeoutMs?: number;
  /** Gets the output as it comes; Outcome then has none of it. */
  onStdout?: (chunk: Buffer) => void;
  onStderr?: (chunk: Buffer) => void;
};

/** A running guest; scripts/guest/boot.mjs documents each member. */
export type Guest = {
  readonly name: string;
  readonly bootMs: number;
  readonly pid: number;
  console(): string;
  run(script: string, options?: RunOptions): Promise<Outcome>;
  runNode(args: readonly string[], options?: RunOptions & { env?: Record<string, string> }): Promise<Outcome>;
  stop(): Promise<void>;
};

export type Nic = { name: string; tap: string; mac: string; addresses?: readonly string[] };

export type BootOptions = {
  name?: string;
  memory?: string;
  nics?: readonly Nic[];
  netns?: string;
  timeoutMs?: number;
};

/** A bridge in a namespace of its own; scripts/guest/switch.mjs documents each member. */
export type Switch = {
  readonly netns: string;
  attach(tap: string): void;
  cut(tap: string): void;
  heal(tap: string): void;
  exec(file: string, args: readonly string[]): string;
  stop(): Promise<void>;
};

async function load<T>(file: string): Promise<T> {
  return (await import(new URL(`../../../scripts/guest/${file}`, import.meta.url).href)) as T;
}

/** Boots a guest; rejects with the end of its console when it does not come up. */
export async function boot(options: BootOptions = {}): Promise<Guest> {
  const { boot: start } = await load<{ boot(options: BootOptions): Promise<Guest> }>('boot.mjs');
  return start(options);
}

/** Makes a network for guests: pass its `netns` and one attached tap for each NIC to boot(). */
export async function createSwitch(options: { addresses?: readonly string[] } = {}): Promise<Switch> {
  const module = await load<{ createSwitch(options: { addresses?: readonly string[] }): Promise<Switch> }>(
    'switch.mjs',
  );
  return module.createSwitch(options);
}
