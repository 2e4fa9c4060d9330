#!/usr/bin/env bash
# questdb.sh DIR [VERSION]: puts the QuestDB server, one jar from Maven Central, into DIR and prints its path.
# Needs Maven, and Java 17 or newer to run it: java -cp JAR io.questdb.ServerMain -d ROOT
set -euo pipefail
dir=${1:?usage: questdb.sh DIR [VERSION]} version=${2:-9.3.4}
for tool in mvn java; do
    command -v "$tool" >/dev/null || { echo "questdb.sh: $tool is missing; install Maven and Java 17" >&2; exit 1; }
done
mkdir -p "$dir"
jar=$(realpath "$dir")/questdb-$version.jar
if [ ! -s "$jar" ]; then
    timeout 600 mvn -q -B dependency:copy -Dartifact="org.questdb:questdb:$version" \
        -DoutputDirectory="$(dirname "$jar")" >&2 \
        || { echo "questdb.sh: Maven could not fetch org.questdb:questdb:$version" >&2; exit 1; }
fi
echo "$jar"
