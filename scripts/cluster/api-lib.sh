# What the api-*.sh scripts share: etcd and kube-apiserver on loopback, without nodes.
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

ask_api() { # path
    curl -s -m 2 --fail --cacert "$dir/pki/ca.crt" --cert "$dir/pki/admin.crt" --key "$dir/pki/admin.key" \
        "https://127.0.0.1:$(cat "$dir/port")$1"
}

api_is_ready() { ask_api /readyz && ask_api /api/v1/namespaces/default; }

start_apiserver() {
    local flags
    mapfile -t flags < "$dir/apiserver.flags"
    start apiserver "$bin/kube-apiserver" "${flags[@]}"
    await "the API server" apiserver 150 api_is_ready
}

# The folder that an argument names, which api-up.sh made.
api_folder() { # folder
    [ -d "$1" ] || die "there is no folder $1; api-up.sh makes it"
    dir=$(cd "$1" && pwd)
    claimed api api-up.sh
}
