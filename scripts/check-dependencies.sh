#!/bin/bash
# The direction of dependencies: cores see no runtime, no socket library, no Kubernetes client; one
# crypto provider. Then licences and sources, by cargo-deny where it is installed.
set -euo pipefail
failed=0
for core in gotemplate ratelimit-core authz-core gateway-core; do
    tree=$(cargo tree --locked -p "$core" -e normal --prefix none)
    for banned in tokio tonic hyper redis kube-client reqwest axum; do
        if grep -q "^$banned v" <<<"$tree"; then
            echo "error: $core depends on $banned; a core has no IO (cargo tree -p $core -i $banned shows the way)" >&2
            failed=1
        fi
    done
done
if cargo tree --locked --workspace -e normal --prefix none | grep -qE '^(ring|openssl|openssl-sys|native-tls) v'; then
    echo "error: a second crypto provider is linked; aws-lc-rs is the only one" >&2
    failed=1
fi
if command -v cargo-deny >/dev/null; then
    cargo deny --offline check licenses bans sources
else
    scripts/check-licences.py || failed=1
fi
exit "$failed"
