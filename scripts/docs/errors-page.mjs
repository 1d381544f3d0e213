// docs/errors.md, from the table of src/base/errors.ts.

const HEAD = `# Errors

<!-- Written by scripts/docs.mjs from src/base/errors.ts: change it there. -->

Whatever fails, weft answers in one shape. Over the socket it is the body of the reply:

\`\`\`json
{"error": {"code": "WEFT_NOT_FOUND", "message": "there is no network \\"app\\"", "hint": "weft network ls"}}
\`\`\`

\`message\` says what is wrong and why, \`hint\` what to do about it, and \`details\` carries what a program may want to
look at (for \`WEFT_NETLINK\` the operation, kind, key, namespace, errno and the kernel's own words). Branch on \`code\`:
it stays, while texts get better. The CLI prints code, message and hint on one line of standard error and exits with 1.

| Code | HTTP status | Meaning |
|---|---|---|
`;

/** @param {Record<string, readonly [status: number, meaning: string]>} errors */
export function errorsPage(errors) {
  const rows = Object.entries(errors).map(([code, [status, meaning]]) => `| \`${code}\` | ${status} | ${meaning} |`);
  return `${HEAD}${rows.join('\n')}\n`;
}
