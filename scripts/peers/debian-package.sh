#!/usr/bin/env bash
# debian-package.sh DIR PACKAGE BINARY: unpacks a Debian package under DIR, without installing it (a package that brings
# a service would start it), and prints the path of BINARY. A BINARY that is on the PATH already is taken as it is.
set -euo pipefail
dir=${1:?usage: debian-package.sh DIR PACKAGE BINARY} package=${2:?package} binary=${3:?binary}
if found=$(command -v "$binary"); then
    echo "$found"
    exit
fi
mkdir -p "$dir"
root=$(realpath "$dir")/$package
if [ ! -x "$root/usr/bin/$binary" ]; then
    command -v apt-get >/dev/null \
        || { echo "debian-package.sh: no apt-get here; install $package and put $binary on the PATH" >&2; exit 1; }
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    (
        cd "$work"
        timeout 300 apt-get -qq download "$package" >&2 \
            || { timeout 300 apt-get -qq update >&2 && timeout 300 apt-get -qq download "$package" >&2; }
    ) || { echo "debian-package.sh: apt-get could not fetch $package" >&2; exit 1; }
    dpkg-deb -x "$work"/*.deb "$root"
fi
[ -x "$root/usr/bin/$binary" ] || { echo "debian-package.sh: $package holds no /usr/bin/$binary" >&2; exit 1; }
echo "$root/usr/bin/$binary"
