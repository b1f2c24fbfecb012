#!/bin/bash
# Gets a real Kubernetes: built from the Go proxy into ~/.cache/tollgate/kube-VERSION, once. With
# --api-only no more than the tests of the controller need (etcd, kube-apiserver, and kubectl where
# none is on PATH); otherwise all that a node needs, and the packages that run containers. Does
# nothing where they are already.
set -euo pipefail

KUBERNETES=v1.34.4
ETCD=v3.6.16
COREDNS=v1.13.1
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tollgate/kube-$KUBERNETES
api_only=
[ "${1:-}" != --api-only ] || api_only=1

say() { printf '%s\n' "$*" >&2; }
missing() { [ ! -x "$cache/$1" ]; }
mkdir -p "$cache"
export GOFLAGS=-mod=mod CGO_ENABLED=0

build() { # folder package...
    command -v go >/dev/null || {
        say "error: go is missing, which builds etcd and Kubernetes; install Go 1.24 or newer, then run this again"
        exit 1
    }
    local begun=$SECONDS compiler
    # Into a folder of its own first: a build that is interrupted leaves no half program.
    (cd "$1" && shift && exec nice go build -trimpath -ldflags "-s -w ${LINK:-}" -o "$work/done/" "$@") &
    compiler=$!
    while sleep 1 && kill -0 $compiler 2>/dev/null; do
        [ $(((SECONDS - begun) % 30)) != 0 ] || say "  ... still building, $((SECONDS - begun)) s"
    done
    wait $compiler || { say "error: the build failed; its words are above"; exit 1; }
    # The module of etcd's server is called for its version.
    for odd in server v3; do [ ! -e "$work/done/$odd" ] || mv "$work/done/$odd" "$work/done/etcd"; done
    mv "$work/done/"* "$cache/"
}

# One at a time: tests may run several of these.
exec 8> "$cache/.lock"
flock 8
work=$(mktemp -d "$cache/.build.XXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/done"

if missing etcd; then
    say "Building etcd $ETCD (about a minute) ..."
    mkdir "$work/etcd"
    {
        printf 'module build\ngo 1.24.0\n'
        for module in server/v3 api/v3 client/pkg/v3 client/v3 pkg/v3; do
            printf 'require go.etcd.io/etcd/%s %s\n' "$module" "$ETCD"
        done
    } > "$work/etcd/go.mod"
    printf '//go:build tools\npackage tools\nimport _ "go.etcd.io/etcd/server/v3"\n' > "$work/etcd/tools.go"
    build "$work/etcd" go.etcd.io/etcd/server/v3
fi

programs="kube-apiserver"
[ -n "$api_only" ] || programs="$programs kube-controller-manager kube-scheduler kubelet kube-proxy"
# The node's scripts look for kubectl in the cache first.
[ -n "$api_only" ] && command -v kubectl >/dev/null || programs="$programs kubectl"
wanted=
for program in $programs; do
    if missing "$program"; then wanted="$wanted k8s.io/kubernetes/cmd/$program"; fi
done
if [ -n "$wanted" ]; then
    say "Building Kubernetes $KUBERNETES:$wanted (2 to 6 minutes) ..."
    mkdir "$work/kubernetes"
    mod=$(go mod download -json "k8s.io/kubernetes@$KUBERNETES" | sed -n 's/.*"GoMod": "\(.*\)",/\1/p')
    {
        printf 'module build\ngo %s\n' "$(awk '/^go /{print $2}' "$mod")"
        grep '^godebug ' "$mod" || true
        printf 'require k8s.io/kubernetes %s\n' "$KUBERNETES"
        # It replaces its parts by folders of its own; here they are the published ones.
        sed -nE 's#^\s*(k8s\.io/[a-z0-9-]+) => \./staging/src/.*#\1#p' "$mod" | while read -r part; do
            case $part in
            k8s.io/sample-*)
                mkdir -p "$work/kubernetes/stub/${part##*/}"
                printf 'module %s\n' "$part" > "$work/kubernetes/stub/${part##*/}/go.mod"
                printf 'replace %s => ./stub/%s\n' "$part" "${part##*/}"
                ;;
            *) printf 'require %s v0.%s\n' "$part" "${KUBERNETES#v1.}" ;;
            esac
        done
    } > "$work/kubernetes/go.mod"
    {
        printf '//go:build tools\npackage tools\nimport (\n'
        for package in $wanted; do printf '  _ "%s"\n' "$package"; done
        printf ')\n'
    } > "$work/kubernetes/tools.go"
    # A server that does not know its version is taken for an old one.
    LINK=
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        LINK="$LINK -X $package.gitVersion=$KUBERNETES -X $package.gitMajor=1 -X $package.gitMinor=34 -X $package.gitTreeState=clean"
    done
    # shellcheck disable=SC2086 # several packages
    LINK=$LINK build "$work/kubernetes" $wanted
fi
[ -z "$api_only" ] || exit 0

if missing coredns; then
    say "Building CoreDNS $COREDNS (about two minutes) ..."
    mkdir "$work/coredns"
    printf 'module build\ngo 1.24.0\nrequire github.com/coredns/coredns %s\n' "$COREDNS" > "$work/coredns/go.mod"
    printf '//go:build tools\npackage tools\nimport _ "github.com/coredns/coredns"\n' > "$work/coredns/tools.go"
    (cd "$work/coredns" && go mod tidy -e >/dev/null 2>&1 || true)
    build "$work/coredns" github.com/coredns/coredns
fi

packages=
for pair in buildah:buildah ctr:containerd runc:runc iptables:iptables ip:iproute2 conntrack:conntrack busybox:busybox-static; do
    command -v "${pair%%:*}" >/dev/null || packages="$packages ${pair##*:}"
done
[ -x /usr/lib/cni/bridge ] || packages="$packages containernetworking-plugins"
if [ -n "$packages" ]; then
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || {
        say "error: a node needs$packages; install them (Debian: apt-get install$packages), then run this again"
        exit 1
    }
    say "Installing$packages ..."
    # shellcheck disable=SC2086
    (apt-get install -y -qq --no-install-recommends $packages || { apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages; }) >/dev/null
fi
