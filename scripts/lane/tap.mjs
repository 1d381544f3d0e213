// What one test program's TAP says.
import { Parser } from 'tap-parser';

/**
 * @typedef {{ name: string, diag: string }} Failure
 * @typedef {{ passed: number, failed: number, skipped: number, skips: string[], failures: Failure[] }} Score
 */

/** Reads TAP as it arrives and counts its test points: those inside subtests, not the subtests' own summaries. */
export class TapReader {
  #parser = new Parser();
  #score = { passed: 0, failed: 0, skipped: 0, skips: [], failures: [] };
  #results;

  constructor() {
    const skip = (point, why) => {
      this.#score.skipped += 1;
      this.#score.skips.push(typeof why === 'string' ? `${point.fullname}: ${why}` : point.fullname);
    };
    this.#parser.on('pass', () => {
      this.#score.passed += 1;
    });
    this.#parser.on('skip', (point) => skip(point, point.skip));
    this.#parser.on('todo', (point) => skip(point, point.todo));
    this.#parser.on('fail', (point) => this.#fail(point.fullname || point.name, point.diag));
    this.#parser.on('complete', (results) => {
      this.#results = results;
    });
  }

  /** @param {Buffer} chunk */
  write(chunk) {
    this.#parser.write(chunk);
  }

  /** Ends the stream. @returns {Score} */
  end() {
    this.#parser.end();
    const { ok, plan, failures, bailout } = this.#results;
    if (this.#parser.syntheticPlan) this.#fail('the file ended without a plan');
    else if (plan.skipAll) this.#skipAll(plan.comment);
    for (const failure of failures) if (failure.tapError) this.#fail(String(failure.tapError));
    if (bailout) this.#fail(`bail out: ${bailout}`);
    if (!ok && this.#score.failed === 0) this.#fail('the TAP is not ok, and no test point says why');
    return this.#score;
  }

  #skipAll(why) {
    this.#score.skipped += 1;
    this.#score.skips.push(why || 'no reason given');
  }

  #fail(name, diag) {
    this.#score.failed += 1;
    this.#score.failures.push({ name, diag: diag ? describe(diag) : '' });
  }
}

/** tap's diagnostics as text: place and difference first; the source excerpt, which the place names, left out. */
function describe({ at, diff, stack, source: _, ...rest }) {
  const lines = [];
  if (at) lines.push(`at ${at.fileName}:${at.lineNumber}`);
  else if (stack) lines.push(stack.trimEnd());
  if (diff) lines.push(diff.trimEnd());
  if (Object.keys(rest).length > 0) lines.push(JSON.stringify(rest, null, 2));
  return lines.join('\n');
}
