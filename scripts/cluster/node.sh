#!/bin/bash
# A Kubernetes cluster of one node in a network namespace of its own: etcd, the control plane,
# containerd, kubelet, kube-proxy, CoreDNS, all real. Nothing of it reaches the machine's network.
#
# usage: node.sh up DIR     then DIR/run COMMAND… runs a command inside, with KUBECONFIG set
#        node.sh import DIR ARCHIVE…   loads images
#        node.sh crash DIR NAMESPACE CONTAINER   ends one container of this name by SIGKILL
#        node.sh down DIR
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=${XDG_CACHE_HOME:-$HOME/.cache}/tollgate/kube-v1.34.4
name=tollgate-node
address=10.99.0.1
run=/run/tollgate-containerd
inside() { nsenter --net="/run/netns/$name" "$@"; }
images() { ctr -a "$run/containerd.sock" -n k8s.io "$@"; }
say() { printf '%4d s  %s\n' "$SECONDS" "$*" >&2; }

start() { # name command...
    local program=$1
    shift
    nohup nsenter --net="/run/netns/$name" "$@" > "$dir/log/$program.log" 2>&1 &
    echo $! > "$dir/$program.pid"
}

await() { # what seconds command...
    local what=$1 end=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { say "error: $what does not come; see $dir/log"; exit 1; }
        sleep 0.2
    done
}

certificates() {
    cd "$dir/pki"
    openssl ecparam -name prime256v1 -genkey -noout -out ca.key 2>/dev/null
    openssl req -x509 -new -key ca.key -subj /CN=node-ca -days 30 -out ca.crt \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
    sign() { # name subject extensions
        openssl ecparam -name prime256v1 -genkey -noout -out "$1.key" 2>/dev/null
        openssl req -new -key "$1.key" -subj "$2" -out "$1.csr" 2>/dev/null
        openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 \
            -extfile <(printf '%s\n' "$3") -out "$1.crt" 2>/dev/null
    }
    sign apiserver /CN=kube-apiserver "subjectAltName=DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1,IP:$address
extendedKeyUsage=serverAuth,clientAuth"
    sign admin /O=system:masters/CN=admin extendedKeyUsage=clientAuth
    sign controllers /CN=system:kube-controller-manager extendedKeyUsage=clientAuth
    sign scheduler /CN=system:kube-scheduler extendedKeyUsage=clientAuth
    sign proxy /CN=system:kube-proxy extendedKeyUsage=clientAuth
    sign kubelet /O=system:nodes/CN=system:node:node extendedKeyUsage=clientAuth
    openssl genrsa -out accounts.key 2048 2>/dev/null
    openssl rsa -in accounts.key -pubout -out accounts.pub 2>/dev/null
    for user in admin controllers scheduler proxy kubelet; do
        cat > "$dir/$user.kubeconfig" <<Y
apiVersion: v1
kind: Config
clusters: [{name: node, cluster: {server: "https://$address:6443", certificate-authority: $dir/pki/ca.crt}}]
users: [{name: user, user: {client-certificate: $dir/pki/$user.crt, client-key: $dir/pki/$user.key}}]
contexts: [{name: node, context: {cluster: node, user: user}}]
current-context: node
Y
    done
}

control_plane() {
    start etcd "$bin/etcd" --data-dir "$dir/etcd" --unsafe-no-fsync
    start apiserver "$bin/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
        --bind-address=0.0.0.0 --advertise-address=$address --secure-port=6443 \
        --tls-cert-file="$dir/pki/apiserver.crt" --tls-private-key-file="$dir/pki/apiserver.key" \
        --client-ca-file="$dir/pki/ca.crt" --authorization-mode=Node,RBAC \
        --service-account-issuer=https://kubernetes.default.svc \
        --service-account-key-file="$dir/pki/accounts.pub" \
        --service-account-signing-key-file="$dir/pki/accounts.key" \
        --service-cluster-ip-range=10.96.0.0/16 --allow-privileged=true \
        --kubelet-client-certificate="$dir/pki/apiserver.crt" --kubelet-client-key="$dir/pki/apiserver.key" \
        --kubelet-preferred-address-types=InternalIP
    await "the API server" 150 "$dir/run" kubectl get --raw /readyz
    start controllers "$bin/kube-controller-manager" --kubeconfig="$dir/controllers.kubeconfig" \
        --use-service-account-credentials=true --service-account-private-key-file="$dir/pki/accounts.key" \
        --root-ca-file="$dir/pki/ca.crt" --cluster-cidr=10.244.0.0/16 --leader-elect=false
    start scheduler "$bin/kube-scheduler" --kubeconfig="$dir/scheduler.kubeconfig" --leader-elect=false
    "$dir/run" kubectl create clusterrolebinding apiserver-kubelet \
        --clusterrole=system:kubelet-api-admin --user=kube-apiserver >/dev/null
    "$dir/run" kubectl apply -f - >/dev/null <<'Y'
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: node-proxier}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:node-proxier}
subjects: [{kind: User, name: system:kube-proxy, apiGroup: rbac.authorization.k8s.io}]
Y
}

base_images() {
    export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
    local root=$dir/images context
    mkdir -p "$root"
    for image in pause coredns; do
        context=$(mktemp -d "$root/context.XXXX")
        if [ $image = pause ]; then
            # busybox's sleep reaps nothing, and has nothing to reap.
            cp -L "$(command -v busybox)" "$context/pause"
            printf 'FROM scratch\nCOPY pause /busybox\nENTRYPOINT ["/busybox","sleep","2147483647"]\n' > "$context/Dockerfile"
        else
            cp "$bin/coredns" "$context/coredns"
            printf 'FROM scratch\nCOPY coredns /coredns\nENTRYPOINT ["/coredns"]\n' > "$context/Dockerfile"
        fi
        buildah --root "$root/store" --runroot "$root/run" build -q -f "$context/Dockerfile" -t "localhost/$image:1" "$context" >/dev/null
        buildah --root "$root/store" --runroot "$root/run" push -q "localhost/$image:1" "docker-archive:$root/$image.tar:localhost/$image:1"
    done
    rm -rf "$root/store" "$root"/context.*
}

node() {
    mkdir -p "$dir/cni"
    cat > "$dir/containerd.toml" <<T
version = 2
root = "$dir/containerd"
state = "$run"
[grpc]
  address = "$run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$dir/cni"
T
    cat > "$dir/cni/10-node.conflist" <<'J'
{"cniVersion":"0.4.0","name":"node","plugins":[
 {"type":"bridge","bridge":"podbr","isGateway":true,"ipMasq":false,"hairpinMode":true,
  "ipam":{"type":"host-local","ranges":[[{"subnet":"10.244.0.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
 {"type":"portmap","capabilities":{"portMappings":true}}]}
J
    start containerd containerd -c "$dir/containerd.toml"
    await containerd 60 images version
    for archive in "$dir"/images/*.tar; do images images import "$archive" >/dev/null; done
    echo "nameserver 10.99.0.254" > "$dir/resolv.conf"
    cat > "$dir/kubelet.yaml" <<Y
kind: KubeletConfiguration
apiVersion: kubelet.config.k8s.io/v1beta1
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $dir/pki/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
failSwapOn: false
failCgroupV1: false
enforceNodeAllocatable: []
featureGates: {KubeletInUserNamespace: true}
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix://$run/containerd.sock
resolvConf: $dir/resolv.conf
evictionHard: {memory.available: "100Mi", nodefs.available: "1%", imagefs.available: "1%"}
imageGCHighThresholdPercent: 100
syncFrequency: 5s
Y
    start kubelet "$bin/kubelet" --config="$dir/kubelet.yaml" --kubeconfig="$dir/kubelet.kubeconfig" \
        --hostname-override=node --node-ip=$address --root-dir="$dir/kubelet" --cert-dir="$dir/kubelet-pki"
    start proxy "$bin/kube-proxy" --kubeconfig="$dir/proxy.kubeconfig" --hostname-override=node \
        --proxy-mode=iptables --cluster-cidr=10.244.0.0/16 --conntrack-max-per-core=0 \
        --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0 \
        --oom-score-adj=0 --bind-address=$address
    await "the node" 180 sh -c "'$dir/run' kubectl get node node | grep -qw Ready"
    "$dir/run" kubectl apply -f "$here/coredns.yaml" >/dev/null
    await "the account default" 30 "$dir/run" kubectl get serviceaccount default
}

up() {
    "$here/install-tools.sh"
    mkdir -p "$dir/log" "$dir/pki"
    # The kubelet changes these.
    for key in vm.overcommit_memory kernel.panic kernel.panic_on_oops; do
        echo "$key=$(sysctl -n $key)"
    done > "$dir/sysctl.saved"
    ip netns add $name
    inside ip link set lo up
    inside ip link add nodebr type bridge
    inside ip addr add $address/24 dev nodebr
    inside ip link set nodebr up
    # No way out: no default route, no uplink.
    inside ip route add 10.96.0.0/16 dev nodebr
    inside sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables' 2>/dev/null || true
    printf '#!/bin/sh\nexport KUBECONFIG=%s/admin.kubeconfig PATH=%s:$PATH\nexec nsenter --net=/run/netns/%s "$@"\n' "$dir" "$bin" "$name" > "$dir/run"
    chmod +x "$dir/run"
    certificates
    control_plane
    say "the control plane is up"
    base_images
    node
    say "the node is ready: $dir/run kubectl get pods -A"
}

down() {
    for program in kubelet; do end_program $program; done
    if [ -S "$run/containerd.sock" ]; then
        for task in $(images tasks ls -q 2>/dev/null); do images tasks kill -s SIGKILL "$task" >/dev/null 2>&1 || true; done
        sleep 1
        for container in $(images containers ls -q 2>/dev/null); do
            images tasks delete -f "$container" >/dev/null 2>&1 || true
            images containers delete "$container" >/dev/null 2>&1 || true
        done
    fi
    for program in proxy containerd scheduler controllers apiserver etcd; do end_program $program; done
    { grep -o "$dir/[^ ]*" /proc/mounts || true; grep -oE "$run[^ ]*" /proc/mounts || true; } | sort -ru | xargs -r -n1 umount -l 2>/dev/null || true
    for space in $(ls /run/netns 2>/dev/null | grep '^cni-' || true); do ip netns del "$space" || true; done
    [ ! -s "$dir/sysctl.saved" ] || sysctl -q -p "$dir/sysctl.saved" || true
    for group in /sys/fs/cgroup/kubepods /sys/fs/cgroup/*/kubepods; do
        [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
    ip netns del $name 2>/dev/null || true
    rm -rf "$run" /var/lib/cni/networks/node "$dir"
}

end_program() {
    [ -s "$dir/$1.pid" ] || return 0
    local process
    process=$(cat "$dir/$1.pid")
    kill "$process" 2>/dev/null || true
    for _ in $(seq 50); do
        kill -0 "$process" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "$process" 2>/dev/null || true
    rm -f "$dir/$1.pid"
}

[ $# -ge 2 ] || { sed -n '2,10p' "$0" >&2; exit 2; }
action=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
shift 2
case $action in
up) up ;;
down) down ;;
crash)
    # As the kernel does when memory is short: no signal that can be handled, no preStop.
    named=$(images containers ls -q "labels.\"io.kubernetes.pod.namespace\"==$1,labels.\"io.kubernetes.container.name\"==$2")
    task=$(images tasks ls | awk -v named="$named" '$3 == "RUNNING" && index(named, $1) { print $1; exit }')
    [ -n "$task" ] || { say "error: no container $2 runs in $1"; exit 1; }
    images tasks kill -s SIGKILL "$task"
    ;;
import) for archive in "$@"; do images images import "$archive" >/dev/null; done ;;
*) sed -n '2,10p' "$0" >&2; exit 2 ;;
esac
