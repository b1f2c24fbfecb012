#!/bin/sh
# Gets what the tests of the charts need into ~/.cache/tollgate: helm, helm-unittest, kubeconform and
# the schemas of three versions of Kubernetes, all from the Go module proxy, and promtool from Debian's
# package. Does nothing where they are already.
set -eu

HELM=v3.19.0
UNITTEST=v1.1.2
KUBECONFORM=v0.8.0
# The oldest that the chart takes, the one that is tested most, the newest.
KUBERNETES="v1.30.14 v1.34.4 v1.36.3"
# helm by `go install` believes in Kubernetes 1.20.
KUBE_MAJOR=1
KUBE_MINOR=34

cache=${XDG_CACHE_HOME:-$HOME/.cache}/tollgate
export GOBIN="$cache/bin"
mkdir -p "$GOBIN"
here=$(cd "$(dirname "$0")" && pwd)

# present NAME VERSION: whether that version was installed by this script.
present() { [ -x "$GOBIN/$1" ] && [ "$(cat "$GOBIN/.$1-version" 2>/dev/null)" = "$2" ]; }

need_go() {
    command -v go >/dev/null || {
        echo "error: go is not on PATH; install it from https://go.dev/dl, then run this again" >&2
        exit 1
    }
}

if ! present helm "$HELM-$KUBE_MINOR"; then
    need_go
    echo "Building helm $HELM ..." >&2
    for package in chartutil lint/rules; do
        flags="${flags:-} -X helm.sh/helm/v3/pkg/$package.k8sVersionMajor=$KUBE_MAJOR -X helm.sh/helm/v3/pkg/$package.k8sVersionMinor=$KUBE_MINOR"
    done
    go install -ldflags "$flags -X helm.sh/helm/v3/internal/version.version=$HELM" "helm.sh/helm/v3/cmd/helm@$HELM"
    echo "$HELM-$KUBE_MINOR" > "$GOBIN/.helm-version"
fi

if ! present kubeconform "$KUBECONFORM"; then
    need_go
    echo "Building kubeconform $KUBECONFORM ..." >&2
    go install "github.com/yannh/kubeconform/cmd/kubeconform@$KUBECONFORM"
    echo "$KUBECONFORM" > "$GOBIN/.kubeconform-version"
fi

if ! present helm-unittest "$UNITTEST"; then
    need_go
    echo "Building helm-unittest $UNITTEST ..." >&2
    # Its go.mod replaces a module, which `go install` of a version does not take.
    folder=$(go mod download -json "github.com/helm-unittest/helm-unittest@$UNITTEST" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
    (cd "$folder" && go build -ldflags "-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=$KUBE_MAJOR -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=$KUBE_MINOR" -o "$GOBIN/helm-unittest" ./cmd/helm-unittest)
    echo "$UNITTEST" > "$GOBIN/.helm-unittest-version"
fi

if ! [ -x "$GOBIN/promtool" ] && ! command -v promtool >/dev/null; then
    command -v apt-get >/dev/null || {
        echo "error: promtool is not on PATH; install Prometheus, then run this again" >&2
        exit 1
    }
    echo "Getting promtool ..." >&2
    temporary=$(mktemp -d)
    # The package is unpacked only: nothing of it runs as a service.
    (cd "$temporary" && chmod 755 . && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } 2>/dev/null && dpkg -x prometheus_*.deb .) || {
        echo "error: apt-get download prometheus failed; install promtool, then run this again" >&2
        exit 1
    }
    mv "$temporary/usr/bin/promtool" "$GOBIN/promtool"
    rm -rf "$temporary"
fi

for version in $KUBERNETES; do
    schemas=$cache/kube-schemas/$version
    [ -e "$schemas/.complete" ] && continue
    need_go
    echo "Making the schemas of Kubernetes $version ..." >&2
    modules=$(go env GOMODCACHE)
    temporary=
    if [ ! -e "$modules/k8s.io/kubernetes@$version/api/openapi-spec/swagger.json" ]; then
        # 300 MB that nobody needs afterwards.
        temporary=$(mktemp -d)
        modules=$temporary
        (cd "$temporary" && GOMODCACHE="$temporary" GOFLAGS=-modcacherw go mod download "k8s.io/kubernetes@$version") || {
            echo "error: the Go module proxy has no k8s.io/kubernetes@$version; check the network" >&2
            exit 1
        }
    fi
    python3 "$here/kube-schemas.py" "$modules/k8s.io/kubernetes@$version/api/openapi-spec/swagger.json" "$schemas"
    [ -z "$temporary" ] || rm -rf "$temporary"
    touch "$schemas/.complete"
done
