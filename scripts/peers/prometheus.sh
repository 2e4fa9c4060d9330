#!/usr/bin/env bash
# prometheus.sh DIR: makes Prometheus (Debian package) available under DIR and prints two paths, prometheus and promtool.
set -euo pipefail
package=$(dirname "$0")/debian-package.sh
"$package" "${1:?usage: prometheus.sh DIR}" prometheus prometheus
"$package" "$1" prometheus promtool
