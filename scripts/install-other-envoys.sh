#!/bin/sh
# Gets the CustomResourceDefinitions of other gateways that use Envoy into
# ~/.cache/tollgate/other-envoys, from the Go module proxy: docs/other-envoys.md is tested against
# them. Does nothing where they are already.
set -eu

cache=${XDG_CACHE_HOME:-$HOME/.cache}/tollgate/other-envoys
SET="contour-1.33.8 istio-1.31.4 envoy-gateway-1.9.1 kgateway-2.4.0 gateway-api-1.6.3"
[ "$(cat "$cache/.complete" 2>/dev/null)" = "$SET" ] && exit 0
command -v go >/dev/null || {
    echo "error: go is not on PATH; install it from https://go.dev/dl, then run this again" >&2
    exit 1
}
rm -rf "$cache"
mkdir -p "$cache"

# module PATH@VERSION: the folder it is in.
module() {
    echo "Getting $1 ..." >&2
    (cd "$cache" && go mod download -json "$1" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
}

cp "$(module github.com/projectcontour/contour@v1.33.8)/examples/contour/01-crds.yaml" "$cache/contour.yaml"
cp "$(module istio.io/api@v1.31.4)/kubernetes/customresourcedefinitions.gen.yaml" "$cache/istio.yaml"
# take NAME FOLDER PLURAL...: some of a folder with a file for each.
take() {
    name=$1 folder=$2
    shift 2
    for plural; do
        echo "---"
        cat "$folder"/*_"$plural".yaml
    done > "$cache/$name.yaml"
}
take envoy-gateway "$(module github.com/envoyproxy/gateway@v1.9.1)/charts/gateway-helm/charts/crds/crds/generated" securitypolicies
take gateway-api "$(module sigs.k8s.io/gateway-api@v1.6.3)/config/crd/experimental" httproutes referencegrants
take kgateway "$(module github.com/kgateway-dev/kgateway/v2@v2.4.0)/install/helm/kgateway-crds/templates" gatewayextensions trafficpolicies
chmod u+w "$cache"/*.yaml
echo "$SET" > "$cache/.complete"
