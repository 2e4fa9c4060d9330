#!/usr/bin/env bash
# questdb-client.sh DIR: makes a Python environment under DIR that holds QuestDB's own client and numpy, whose arrays it sends, and
# prints its interpreter's path.
set -euo pipefail
dir=${1:?usage: questdb-client.sh DIR}
mkdir -p "$dir"
python=$(realpath "$dir")/questdb-client/bin/python
if ! "$python" -c 'import numpy, questdb.ingress' 2>/dev/null; then
    command -v python3 >/dev/null || { echo "questdb-client.sh: python3 is missing" >&2; exit 1; }
    { python3 -m venv "$dir/questdb-client" && timeout 600 "$python" -m pip install -q questdb numpy; } >&2 \
        || { echo "questdb-client.sh: pip could not install questdb into $dir/questdb-client" >&2; exit 1; }
fi
echo "$python"
