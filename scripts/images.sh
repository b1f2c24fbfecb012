#!/bin/bash
# Builds the images with buildah, without registry and daemon, into target/images: an archive and a
# list of contents (SPDX) for each. Programs come from $BIN_DIR (target/release), libraries from the
# Debian packages of this machine, Envoy and Redis from where the tests have them. The same inputs at
# the same commit give the same images.
#
# usage: images.sh [IMAGE…]
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${BIN_DIR:-target/release}
out=$PWD/target/images
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
revision=$(git describe --always --abbrev=40 --exclude '*' --dirty 2>/dev/null || echo unknown)
# Programs of others may be from another commit.
[ -z "${BIN_DIR:-}" ] || revision=${REVISION:-unknown}
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}

command -v buildah >/dev/null || { echo "error: buildah is missing; run scripts/cluster/install-tools.sh" >&2; exit 1; }
[ -n "${BIN_DIR:-}" ] || cargo build --release -p gateway-ctl -p ratelimit-svc -p authz-svc

# Layers need no kernel features this way, so it works inside other containers, too.
export BUILDAH_ISOLATION=chroot
mkdir -p "$out"
work=$(mktemp -d "$out/.work.XXXX")
trap 'rm -rf "$work"' EXIT
buildah() { command buildah --storage-driver vfs --root "$work/root" --runroot "$work/run" "$@"; }

image() { # name
    local name=$1 tag=localhost/tollgate-$1:$version context=$work/context digest
    mkdir "$context"
    scripts/image-parts.sh "$name" "$bin" "$context/$name"
    mv "$context/$name.sources" "$work/sources"
    buildah build -q -f deploy/images/Dockerfile --target "$name" --timestamp "$epoch" \
        --build-arg PARTS=prepared --build-arg "TARGETARCH=$(dpkg --print-architecture 2>/dev/null || uname -m)" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
        -t "$tag" "$context" >/dev/null
    rm -f "$work/image.tar"
    buildah push -q "$tag" "docker-archive:$work/image.tar:$tag"
    digest=$(buildah inspect --type image --format '{{.FromImageID}}' "$tag")
    python3 scripts/sbom.py "$name" "$version" "$epoch" "$digest" "$work/sources" > "$work/sbom.json"
    # An archive that is there is a whole one.
    mv "$work/image.tar" "$out/$name.tar"
    mv "$work/sbom.json" "$out/$name.spdx.json"
    printf '%-40s %5s MiB  sha256:%s  %5s packages\n' "$tag" "$(($(stat -c %s "$out/$name.tar") >> 20))" "$digest" \
        "$(grep -c '"SPDXID": "SPDXRef-Package' "$out/$name.spdx.json")"
    rm -rf "$context"
}

[ $# -gt 0 ] || set -- gateway-ctl gateway ratelimit-svc authz-svc redis echo
for name in "$@"; do image "$name"; done
