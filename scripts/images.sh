#!/bin/bash
# Builds the images with buildah, without registry and daemon, into target/images: an archive and a
# list of contents (SPDX) for each. Programs come from $BIN_DIR (target/release), libraries from the
# Debian packages of this machine, Envoy from where the tests have it.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${BIN_DIR:-target/release}
out=$PWD/target/images
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tollgate

say() { printf '%s\n' "$*" >&2; }
need() { command -v "$1" >/dev/null || { say "error: $1 is missing; run scripts/cluster/install-tools.sh"; exit 1; }; }
need buildah
for program in gateway-ctl ratelimit-svc authz-svc; do
    [ -x "$bin/$program" ] || { say "Building $program ..."; cargo build --release; break; }
done

# Layers need no kernel features this way, so it works inside other containers, too.
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
store=$(mktemp -d)
trap 'rm -rf "$store"' EXIT
buildah() { command buildah --root "$store/root" --runroot "$store/run" "$@"; }

# The libraries that programs link, with the CA certificates and a user.
rootfs() { # folder program...
    local folder=$1 program library
    shift
    mkdir -p "$folder/etc/ssl/certs" "$folder/tmp"
    chmod 1777 "$folder/tmp"
    for program in "$@"; do
        # Both `name => path` and the loader's own path.
        ldd "$program" | grep -o '/[^ ]*\.so[^ ]*' | sort -u | while read -r library; do
            mkdir -p "$folder$(dirname "$library")"
            cp -Ln "$library" "$folder$library"
        done
    done
    cp -L /etc/ssl/certs/ca-certificates.crt "$folder/etc/ssl/certs/" 2>/dev/null || true
    printf 'nonroot:x:65532:65532::/:/sbin/nologin\n' > "$folder/etc/passwd"
    printf 'nonroot:x:65532:\n' > "$folder/etc/group"
    # Names are looked up in the cluster's DNS.
    printf 'hosts: files dns\n' > "$folder/etc/nsswitch.conf"
}

image() { # name program...
    local name=$1 context program
    shift
    context=$(mktemp -d "$store/context.XXXX")
    mkdir -p "$context/bin" "$context/rootfs"
    for program in "$@"; do cp -L "$program" "$context/bin/"; done
    rootfs "$context/rootfs" "$@"
    if [ "$name" = ratelimit-svc ]; then
        # Where envoyproxy/ratelimit's image has its program: charts that override the image name it.
        mkdir -p "$context/rootfs/bin"
        ln -s ../usr/local/bin/ratelimit-svc "$context/rootfs/bin/ratelimit"
    fi
    local tag=localhost/tollgate-$name:$version
    buildah build -q --build-arg "VERSION=$version" -f "deploy/images/$name/Dockerfile" -t "$tag" "$context" >/dev/null
    save "$name" "$tag" "$context"
}

save() { # name tag context
    rm -f "$out/$1.tar"
    buildah push -q "$2" "docker-archive:$out/$1.tar:$2"
    python3 scripts/sbom.py "$1" "$version" "$3" > "$out/$1.spdx.json"
    printf '%-16s %-44s %6s MiB\n' "$1" "$2" "$(($(stat -c %s "$out/$1.tar") >> 20))"
    rm -rf "$3"
}

envoy=$(command -v envoy || find "$cache" -type f -name envoy -size +1M | head -1)
[ -n "$envoy" ] || { say "error: there is no Envoy; run make tools"; exit 1; }

mkdir -p "$out"
image gateway-ctl "$bin/gateway-ctl"
image gateway "$bin/gateway-ctl" "$envoy"
image ratelimit-svc "$bin/ratelimit-svc"
image authz-svc "$bin/authz-svc"

# For trials and tests only.
if redis=$(command -v redis-server); then
    context=$(mktemp -d "$store/context.XXXX")
    mkdir -p "$context/bin" "$context/rootfs"
    cp -L "$redis" "$context/bin/redis-server"
    rootfs "$context/rootfs" "$redis"
    printf 'FROM scratch\nCOPY rootfs/ /\nCOPY bin/ /usr/local/bin/\nENV PATH=/usr/local/bin\nUSER 65532:65532\nENTRYPOINT ["/usr/local/bin/redis-server"]\n' > "$context/Dockerfile"
    buildah build -q -f "$context/Dockerfile" -t "localhost/tollgate-redis:$version" "$context" >/dev/null
    save redis "localhost/tollgate-redis:$version" "$context"
fi
