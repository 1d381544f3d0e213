#!/usr/bin/env bash
# Runs the privileged tests on this machine's own kernel: the files of the guest lane, with IPVS and bridge connection
# tracking for real. usage: sudo test.sh [PART-OF-A-FILE-NAME…]
set -euo pipefail
exec </dev/null
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

weft_need_root
weft_install "${WEFT_PACKAGES[@]}"
cd "$WEFT_ROOT"
weft_ensure_node
weft_ensure_modules
npm run -s build
npm run -s build:test
trap weft_give_back EXIT
node scripts/lane.mjs kernel "$@"
