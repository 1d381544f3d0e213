// A knip preprocessor: constants that a codec copies from a kernel header are a vocabulary, easier to check against the
// header when it is whole, so those that nobody uses yet are no dead code. Everything else that nobody imports is.

const isHeaderConstant = (file, name) => /(^|\/)src\/codec\//.test(file) && /^[A-Z][A-Z0-9_]*$/.test(name);

function without(byFile) {
  const kept = Object.entries(byFile).map(([file, issues]) => [
    file,
    Object.fromEntries(Object.entries(issues).filter(([, { symbol }]) => !isHeaderConstant(file, symbol))),
  ]);
  return Object.fromEntries(kept.filter(([, issues]) => Object.keys(issues).length > 0));
}

const count = (byFile) => Object.values(byFile).reduce((sum, issues) => sum + Object.keys(issues).length, 0);

export default function withoutHeaderConstants(results) {
  const exports = without(results.issues.exports);
  return {
    ...results,
    issues: { ...results.issues, exports },
    counters: { ...results.counters, exports: count(exports) },
  };
}
