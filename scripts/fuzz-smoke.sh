#!/usr/bin/env bash
# Runs each fuzz target for some seconds (default 60). Needs `cargo install cargo-fuzz --locked`.
#
#   scripts/fuzz-smoke.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
# The sanitiser is an unstable flag of the compiler, which this lets a stable one take.
export RUSTC_BOOTSTRAP=1
for target in scan stream fast_versus_grammar; do
  corpus=fuzz/corpus/$target
  mkdir -p "$corpus"
  [ -n "$(ls -A "$corpus")" ] || split -l 1 -a 4 tests/data/samples.lp "$corpus/sample-"
  cargo fuzz run "$target" -- -max_total_time="${1:-60}" -max_len=512 -print_final_stats=1
done
