#!/bin/sh
# Gets what the tests run against: Envoy (into ~/.cache/tollgate), redis-server and libfaketime
# (by apt when root), a Kubernetes API server and Consul. Does nothing where they are already.
set -eu

"$(dirname "$0")/install-envoy.sh" >/dev/null
# The oldest whose configuration must stay valid.
"$(dirname "$0")/install-envoy.sh" 1.36.4 >/dev/null

missing=
command -v redis-server >/dev/null || missing="$missing redis-server"
ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || missing="$missing libfaketime"
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing$missing ..." >&2
        # A package's own service would hold the default port; the tests start their own servers.
        printf '#!/bin/sh\nexit 101\n' > /tmp/tollgate-policy-rc.d
        had_policy=; [ -e /usr/sbin/policy-rc.d ] && had_policy=1
        [ -n "$had_policy" ] || install -m 755 /tmp/tollgate-policy-rc.d /usr/sbin/policy-rc.d
        (apt-get install -y -qq $missing || { apt-get update -qq && apt-get install -y -qq $missing; }) >/dev/null
        [ -n "$had_policy" ] || rm -f /usr/sbin/policy-rc.d
        rm -f /tmp/tollgate-policy-rc.d
    else
        echo "error: the tests need$missing; install them (Debian: apt-get install$missing), then run this again" >&2
        exit 1
    fi
fi

# etcd and kube-apiserver, built once.
"$(dirname "$0")/cluster/install-tools.sh" --api-only

# Consul, built once.
"$(dirname "$0")/install-consul.sh"

# What other gateways take, for the snippets in the documentation.
"$(dirname "$0")/install-other-envoys.sh"
