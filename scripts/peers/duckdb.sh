#!/usr/bin/env bash
# duckdb.sh DIR: makes a Python environment under DIR that holds the duckdb package, and prints its interpreter's path.
set -euo pipefail
dir=${1:?usage: duckdb.sh DIR}
mkdir -p "$dir"
python=$(realpath "$dir")/duckdb/bin/python
if ! "$python" -c 'import duckdb' 2>/dev/null; then
    command -v python3 >/dev/null || { echo "duckdb.sh: python3 is missing" >&2; exit 1; }
    { python3 -m venv "$dir/duckdb" && timeout 600 "$python" -m pip install -q duckdb; } >&2 \
        || { echo "duckdb.sh: pip could not install duckdb into $dir/duckdb" >&2; exit 1; }
fi
echo "$python"
