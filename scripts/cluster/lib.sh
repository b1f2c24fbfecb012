# What the scripts of this folder share; they source it and set `dir`, the folder of their cluster.
# shellcheck shell=bash

bin=${XDG_CACHE_HOME:-$HOME/.cache}/tollgate/kube-v1.34.4

say() { printf '%4d s  %s\n' "$SECONDS" "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Starts a program that outlives this script: its output goes to $dir/log, its id to $dir/NAME.pid.
# `launch` may hold a command that it runs under.
launch=()
start() { # name command...
    local program=$1
    shift
    nohup "${launch[@]}" "$@" > "$dir/log/$program.log" 2>&1 < /dev/null &
    begin_of $! > "$dir/$program.begin" || true
    echo $! > "$dir/$program.pid"
    # No word of this shell when it ends.
    disown
}

# When a process began, in ticks since boot; nothing when there is none.
begin_of() { # process
    sed -nE 's/.*\) ([^ ]+ ){19}([0-9]+) .*/\2/p' "/proc/$1/stat" 2>/dev/null
}

# Whether a program that `start` started is there. Its id may belong to somebody else by now, who
# began later.
runs() { # name
    local process
    process=$(cat "$dir/$1.pid" 2>/dev/null) || return 1
    grep -qE '\) [^ZX] ' "/proc/$process/stat" 2>/dev/null && begin_of "$process" | cmp -s - "$dir/$1.begin"
}

end_program() { # name [signal]
    local process
    if runs "$1"; then
        process=$(cat "$dir/$1.pid")
        kill -s "${2:-TERM}" "$process" 2>/dev/null || true
        for _ in $(seq 100); do
            runs "$1" || break
            sleep 0.1
        done
        ! runs "$1" || kill -9 "$process" 2>/dev/null || true
    fi
    rm -f "$dir/$1.pid" "$dir/$1.begin"
}

# Waits for a command to succeed, as long as the program that it asks is there. `logs`: where the log
# will be found by somebody who reads the error.
await() { # what program seconds command...
    local what=$1 program=$2 end=$((SECONDS + $3))
    shift 3
    until "$@" >/dev/null 2>&1; do
        runs "$program" || die "$what does not come: $program ended: $(last_words "$program") (${logs:-$dir/log}/$program.log)"
        [ $SECONDS -lt $end ] || die "$what does not come; see ${logs:-$dir/log}/$program.log"
        sleep 0.1
    done
}

# The line of a log that says most: the last error of a program, without its stack.
last_words() { # name
    { grep -E '^(E[0-9]{4} |F[0-9]{4} |Error|error|panic)|"level":"(error|fatal|panic)"' "$dir/log/$1.log" || cat "$dir/log/$1.log"; } |
        tail -1 | cut -c1-300
}

# A CA, the API server's certificate, keys of service accounts.
authority() { # names of the API server, as in DNS:a,IP:b
    mkdir -p "$dir/pki"
    (
        cd "$dir/pki"
        openssl ecparam -name prime256v1 -genkey -noout -out ca.key
        openssl req -x509 -new -key ca.key -subj /CN=test-ca -days 30 -out ca.crt \
            -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
        openssl genrsa -out accounts.key 2048
        openssl rsa -in accounts.key -pubout -out accounts.pub
    ) 2>/dev/null
    certificate apiserver /CN=kube-apiserver "subjectAltName=$1
extendedKeyUsage=serverAuth,clientAuth"
}

certificate() { # name subject [extensions]
    (
        cd "$dir/pki"
        openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
        openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
        openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 \
            -extfile <(printf '%s\n' "${3:-extendedKeyUsage=clientAuth}") -out "$1.crt"
    ) 2>/dev/null
}

# A kubeconfig that needs no other file.
kubeconfig() { # file server user-as-yaml
    (
        umask 077
        cat > "$1" <<Y
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "$2", certificate-authority-data: $(base64 -w0 "$dir/pki/ca.crt")}}]
users: [{name: user, user: $3}]
contexts: [{name: test, context: {cluster: test, user: user}}]
current-context: test
Y
    )
}

# The user of a kubeconfig who has a certificate.
holder() { # certificate
    printf '{client-certificate-data: %s, client-key-data: %s}' \
        "$(base64 -w0 "$dir/pki/$1.crt")" "$(base64 -w0 "$dir/pki/$1.key")"
}

# Flags of every API server here.
apiserver_flags() {
    printf -- '--%s\n' \
        tls-cert-file="$dir/pki/apiserver.crt" tls-private-key-file="$dir/pki/apiserver.key" \
        client-ca-file="$dir/pki/ca.crt" cert-dir="$dir/state" \
        service-account-issuer=https://kubernetes.default.svc \
        service-account-key-file="$dir/pki/accounts.pub" \
        service-account-signing-key-file="$dir/pki/accounts.key" \
        service-cluster-ip-range=10.96.0.0/16
}

# Folders are removed whole at the end, so only those that a script of ours made are taken, and by one
# of them at a time: of two that make a folder, one succeeds.
claim() { # kind
    [ ! -e "$dir/.tollgate-$1" ] || die "$dir is in use: take it down first"
    [ -z "$(ls -A "$dir")" ] || die "$dir is not empty, and it would be removed at the end; name a new folder"
    mkdir "$dir/.tollgate-$1" 2>/dev/null || die "$dir is in use: take it down first"
}
claimed() { # kind maker
    [ -e "$dir/.tollgate-$1" ] || die "$dir is not a folder that $2 made"
}
