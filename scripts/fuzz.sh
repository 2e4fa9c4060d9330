#!/usr/bin/env bash
# Builds each fuzz target and runs it for some seconds (default 60), and says how many inputs it ran.
#
#   scripts/fuzz.sh [SECONDS [TARGET…]]
#
# Needs a C++ compiler, for libFuzzer, and nothing else: the flags are those of cargo-fuzz, with which the targets run, too.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=(scan stream fast_versus_grammar)
host=$(rustc -vV | sed -n 's/^host: //p')
# Coverage counters and comparisons for libFuzzer, through a compiler pass that is there in a stable compiler, too; overflow and
# debug assertions on. No sanitiser: there is no unsafe code in the codec.
flags=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing
  -Cdebug-assertions -Ccodegen-units=1 -Copt-level=3)
# With a target named, the flags are not for build scripts, which have no libFuzzer to count for.
RUSTFLAGS="${flags[*]}" cargo build --release --manifest-path fuzz/Cargo.toml --target "$host" --target-dir fuzz/target --bins
for target in "${targets[@]}"; do
  corpus=fuzz/target/corpus/$target
  mkdir -p "$corpus" fuzz/artifacts
  [ -n "$(ls -A "$corpus")" ] || split -l 1 -a 4 tests/data/samples.lp "$corpus/sample-"
  # The first byte is a choice of the target's; a double, and an array of two.
  printf 'am v==\020\001\002\n\r\005\006\360?,w=t 1' >"$corpus/double"
  printf 'am v==\016\n\001\002\000\000\000abcdefgh\n2345678 1' >"$corpus/array"
  log=fuzz/target/$target.log
  if ! "fuzz/target/$host/release/$target" "$corpus" -max_total_time="$seconds" -max_len=512 -print_final_stats=1 \
    -artifact_prefix=fuzz/artifacts/ >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    echo "fuzz: $target failed; its input is in fuzz/artifacts" >&2
    exit 1
  fi
  echo "fuzz: $target ran $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs in $seconds s," \
    "$(sed -n 's/^#.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1) edges covered"
done
