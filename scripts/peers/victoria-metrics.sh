#!/usr/bin/env bash
# victoria-metrics.sh DIR: makes VictoriaMetrics (Debian package) available under DIR and prints the binary's path.
set -euo pipefail
exec "$(dirname "$0")/debian-package.sh" "${1:?usage: victoria-metrics.sh DIR}" victoria-metrics victoria-metrics
