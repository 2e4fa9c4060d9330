#!/usr/bin/env bash
# telegraf.sh DIR [VERSION]: builds Telegraf with only the plugins that the tests and examples use, from the Go module
# proxy, as DIR/telegraf, and prints its path. A minute or two on two cores; needs Go 1.21 or newer.
set -euo pipefail
dir=${1:?usage: telegraf.sh DIR [VERSION]} version=${2:-v1.39.3}
mkdir -p "$dir"
bin=$(realpath "$dir")
if [ ! -x "$bin/telegraf" ]; then
    command -v go >/dev/null || { echo "telegraf.sh: go is missing" >&2; exit 1; }
    plugins=(
        inputs.{cpu,disk,diskio,file,internal,kernel,mem,mock,net,processes,swap,system,tail}
        outputs.{file,influxdb,influxdb_v2,socket_writer}
        parsers.influx serializers.influx
    )
    # `custom` turns every plugin off that is not named beside it.
    tags=custom$(printf ',%s' "${plugins[@]}")
    GOBIN=$bin CGO_ENABLED=0 timeout 1200 \
        go install -ldflags '-s -w' -tags "$tags" "github.com/influxdata/telegraf/cmd/telegraf@$version" >&2 \
        || { echo "telegraf.sh: Go could not build Telegraf $version" >&2; exit 1; }
fi
echo "$bin/telegraf"
