#!/bin/bash
# Runs every test and closes with the counts that the test runner printed. Arguments go to cargo.
set -u
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --workspace --no-fail-fast "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
awk '/^test result:/ { runs += 1; passed += $4; failed += $6; ignored += $8 }
     END { printf "\n%d test programs: %d passed, %d failed, %d ignored\n", runs, passed, failed, ignored }' "$log"
exit "$status"
