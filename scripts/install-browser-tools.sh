#!/bin/bash
# Gets what the tests with a browser run against: Chromium with its driver (by apt when root) and Keycloak
# (from Maven Central into ~/.cache/tollgate/keycloak-VERSION). Does nothing where they are already.
set -euo pipefail

KEYCLOAK=26.7.3
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tollgate
home=$cache/keycloak-$KEYCLOAK

missing=()
command -v chromedriver >/dev/null || missing+=(chromium chromium-driver)
if [ ! -f "$home/.built" ]; then
    command -v java >/dev/null || missing+=(openjdk-17-jre-headless)
    command -v mvn >/dev/null || missing+=(maven)
fi
if [ ${#missing[@]} != 0 ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "error: the tests with a browser need ${missing[*]}; install it (Debian: apt-get install ${missing[*]}), then run this again" >&2
        exit 1
    fi
    echo "Installing ${missing[*]} ..." >&2
    install=(apt-get install -y -qq --no-install-recommends "${missing[@]}")
    { "${install[@]}" || { apt-get update -qq && "${install[@]}"; }; } >/dev/null
fi

mkdir -p "$cache"
exec 8> "$cache/.keycloak.lock"
flock 8
[ ! -f "$home/.built" ] || exit 0
echo "Getting Keycloak $KEYCLOAK (200 MB; about a minute) ..." >&2
work=$(mktemp -d "$cache/.keycloak.XXXX")
trap 'rm -rf "$work"' EXIT
mvn -q -B dependency:copy -Dartifact=org.keycloak:keycloak-quarkus-dist:$KEYCLOAK:zip -DoutputDirectory="$work" >&2
(cd "$work" && python3 -m zipfile -e keycloak-quarkus-dist-$KEYCLOAK.zip .)
chmod +x "$work/keycloak-$KEYCLOAK/bin/"*.sh
# Once, so that it starts in seconds.
"$work/keycloak-$KEYCLOAK/bin/kc.sh" build --db=dev-mem --health-enabled=true > "$work/build.log" 2>&1 || {
    cat "$work/build.log" >&2
    exit 1
}
touch "$work/keycloak-$KEYCLOAK/.built"
rm -rf "$home"
mv "$work/keycloak-$KEYCLOAK" "$home"
