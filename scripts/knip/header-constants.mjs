// A knip preprocessor: constants that a codec copies from a kernel header are a vocabulary, whole or hard to check
// against the header, so those that nobody uses yet are no dead code. Everything else that nobody imports is.

const isHeaderConstant = (file, name) => /(^|\/)src\/codec\//.test(file) && /^[A-Z][A-Z0-9_]*$/.test(name);

export default function withoutHeaderConstants(results) {
  const exports = {};
  let count = 0;
  for (const [file, issues] of Object.entries(results.issues.exports)) {
    const kept = Object.entries(issues).filter(([name]) => !isHeaderConstant(file, name));
    if (kept.length > 0) exports[file] = Object.fromEntries(kept);
    count += kept.length;
  }
  return {
    ...results,
    issues: { ...results.issues, exports },
    counters: { ...results.counters, exports: count },
  };
}
