// From a finished test program to what the lane prints about it.
import { TapReader } from './tap.mjs';

const STDERR_KEPT = 64 * 1024;
/** What tap says on standard error, with status 0, of a test or an assertion that came after its parent had ended. */
const UNHEARD = /subtest after parent|assertion after end\(\)/;

/**
 * @typedef {import('./tap.mjs').Score & { file: string, seconds: number, notes: string[], stderr: string[] }} Verdict
 */

/** Collects the output of one run of lane/file.sh and judges it. */
export class Judge {
  #tap = new TapReader();
  #stderr = '';
  #started = process.hrtime.bigint();

  /** @param {string} file @param {string} token what file.sh puts before its own lines on standard error */
  constructor(file, token) {
    this.file = file;
    this.token = token;
  }

  onStdout = (chunk) => this.#tap.write(chunk);

  onStderr = (chunk) => {
    this.#stderr = (this.#stderr + chunk).slice(-STDERR_KEPT);
  };

  /**
   * @param {{ code: number, timedOut: boolean, lost?: string }} end `lost`: the program's fate is unknown, and why
   * @returns {Verdict}
   */
  verdict({ code, timedOut, lost }) {
    const score = this.#tap.end();
    const lines = this.#stderr.split('\n').filter((line) => line !== '');
    const own = lines
      .filter((line) => line.startsWith(`${this.token} `))
      .map((line) => line.slice(this.token.length + 1));
    const fail = (name) => {
      score.failed += 1;
      score.failures.push({ name, diag: '' });
    };
    if (lost !== undefined) fail(lost);
    else if (timedOut || code === 124) fail('the file ran out of time');
    else if (code !== 0 && score.failed === 0) fail(`the file ended with exit status ${code}`);
    const unheard = lines.find((line) => UNHEARD.test(line));
    if (unheard !== undefined && score.failed === 0) fail(`part of the file did not count: ${unheard.trim()}`);
    for (const line of own) if (line.startsWith('leaked ')) fail(`leaked namespace ${line.slice(7)}`);
    return {
      ...score,
      file: this.file,
      seconds: Number(process.hrtime.bigint() - this.#started) / 1e9,
      notes: own.filter((line) => line.startsWith('killed ')).map((line) => `left running: ${line.slice(7)}`),
      stderr: lines.filter((line) => !line.startsWith(`${this.token} `)),
    };
  }
}

/** The verdict as text: one line, and what went wrong under it. @param {Verdict} v */
export function report(v) {
  const failed = v.failed > 0;
  const out = [`${failed ? 'not ok' : 'ok'} ${v.file}: ${counts(v)} (${v.seconds.toFixed(1)} s)`];
  for (const skip of v.skips) out.push(`  skipped: ${skip}`);
  for (const note of v.notes) out.push(`  ${note}`);
  for (const { name, diag } of v.failures) {
    out.push(`  failed: ${name}`);
    if (diag !== '') out.push(indent(diag, '    '));
  }
  if (failed && v.stderr.length > 0)
    out.push('  end of its standard error:', indent(v.stderr.slice(-20).join('\n'), '    '));
  return out.join('\n');
}

/** "3 passed, 0 failed", with ", 1 skipped" where there are any. */
export function counts({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

function indent(text, by) {
  return text.replaceAll(/^/gm, by);
}
