#!/bin/bash
# A Kubernetes cluster of one node in a network namespace of its own: etcd, the control plane,
# containerd, kubelet, kube-proxy, CoreDNS, all real. Nothing of it reaches the machine's network.
# Several may run at once, each in a folder of its own; `down` touches nothing of the others.
#
# usage: node.sh up DIR     then DIR/run COMMAND… runs a command inside, with KUBECONFIG set
#        node.sh import DIR ARCHIVE…   loads images
#        node.sh crash DIR CONTAINER   ends a container's program without a word, as a crash does
#        node.sh down DIR
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
address=10.99.0.1
# The kubelet sets these for the whole machine.
kubelet_sysctls="vm.overcommit_memory=1 kernel.panic=10 kernel.panic_on_oops=1"

usage() { sed -n '2,10p' "$0" >&2; exit 2; }
inside() { nsenter --net="/run/netns/$name" "$@"; }
images() { ctr -a "$run/containerd.sock" -n k8s.io "$@"; }

certificates() {
    authority "DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1,IP:$address"
    certificate admin /O=system:masters/CN=admin
    certificate controllers /CN=system:kube-controller-manager
    certificate scheduler /CN=system:kube-scheduler
    certificate proxy /CN=system:kube-proxy
    certificate kubelet /O=system:nodes/CN=system:node:node
    for user in admin controllers scheduler proxy kubelet; do
        kubeconfig "$dir/$user.kubeconfig" "https://$address:6443" "$(holder $user)"
    done
}

control_plane() {
    local flags
    mapfile -t flags < <(apiserver_flags)
    start etcd "$bin/etcd" --data-dir "$dir/etcd" --unsafe-no-fsync --log-level warn
    start apiserver "$bin/kube-apiserver" "${flags[@]}" --etcd-servers=http://127.0.0.1:2379 \
        --bind-address=0.0.0.0 --advertise-address=$address --secure-port=6443 \
        --authorization-mode=Node,RBAC --allow-privileged=true \
        --kubelet-client-certificate="$dir/pki/apiserver.crt" --kubelet-client-key="$dir/pki/apiserver.key" \
        --kubelet-preferred-address-types=InternalIP
    await "the API server" apiserver 150 "$dir/run" kubectl get --raw /readyz
    start controllers "$bin/kube-controller-manager" --kubeconfig="$dir/controllers.kubeconfig" \
        --use-service-account-credentials=true --service-account-private-key-file="$dir/pki/accounts.key" \
        --root-ca-file="$dir/pki/ca.crt" --cluster-cidr=10.244.0.0/16 --leader-elect=false --cert-dir="$dir/state"
    start scheduler "$bin/kube-scheduler" --kubeconfig="$dir/scheduler.kubeconfig" --leader-elect=false --cert-dir="$dir/state"
    "$dir/run" kubectl create clusterrolebinding apiserver-kubelet \
        --clusterrole=system:kubelet-api-admin --user=kube-apiserver >/dev/null
    "$dir/run" kubectl create clusterrolebinding node-proxier \
        --clusterrole=system:node-proxier --user=system:kube-proxy >/dev/null
}

base_images() {
    export BUILDAH_ISOLATION=chroot
    local root=$dir/images context image
    local store=(--storage-driver vfs --root "$root/store" --runroot "$root/run")
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
        buildah "${store[@]}" build -q -f "$context/Dockerfile" -t "localhost/$image:1" "$context" >/dev/null
        buildah "${store[@]}" push -q "localhost/$image:1" "docker-archive:$root/$image.tar:localhost/$image:1"
    done
    rm -rf "$root/store" "$root/run" "$root"/context.*
}

# The kubelet takes every pod below its root for its own, so each node has another root.
make_cgroups() {
    local group=/sys/fs/cgroup parent
    if [ -e $group/cgroup.controllers ]; then
        echo '+cpuset +cpu +io +memory +pids' > $group/cgroup.subtree_control 2>/dev/null || true
        mkdir -p "$group/$name"
        return
    fi
    for parent in $group/*/; do
        [ ! -L "${parent%/}" ] && [ -e "$parent/cgroup.procs" ] || continue
        mkdir -p "$parent$name"
        # Without these nothing can be put into a cpuset.
        for file in cpuset.cpus cpuset.mems; do
            [ ! -e "$parent$file" ] || cat "$parent$file" > "$parent$name/$file"
        done
    done
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
  # Not among the machine's named ones: nobody else removes them, and we remove nobody else's.
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$dir/cni"
T
    cat > "$dir/cni/10-node.conflist" <<J
{"cniVersion":"0.4.0","name":"$name","plugins":[
 {"type":"bridge","bridge":"podbr","isGateway":true,"ipMasq":false,"hairpinMode":true,
  "ipam":{"type":"host-local","dataDir":"$dir/addresses","ranges":[[{"subnet":"10.244.0.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
 {"type":"portmap","capabilities":{"portMappings":true}}]}
J
    start containerd containerd -c "$dir/containerd.toml"
    await containerd containerd 60 images version
    for archive in "$dir"/images/*.tar; do images images import "$archive" >/dev/null; done
    echo "nameserver 10.99.0.254" > "$dir/resolv.conf"
    cat > "$dir/kubelet.yaml" <<Y
kind: KubeletConfiguration
apiVersion: kubelet.config.k8s.io/v1beta1
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $dir/pki/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: /$name
podLogsDir: $dir/pods
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
    make_cgroups
    start kubelet "$bin/kubelet" --config="$dir/kubelet.yaml" --kubeconfig="$dir/kubelet.kubeconfig" \
        --hostname-override=node --node-ip=$address --root-dir="$dir/kubelet" --cert-dir="$dir/kubelet-pki"
    start proxy "$bin/kube-proxy" --kubeconfig="$dir/proxy.kubeconfig" --hostname-override=node \
        --proxy-mode=iptables --cluster-cidr=10.244.0.0/16 --conntrack-max-per-core=0 \
        --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0 \
        --oom-score-adj=0 --bind-address=$address
    await "the node" kubelet 180 sh -c "'$dir/run' kubectl get node node | grep -qw Ready"
    await "kube-proxy" proxy 30 inside curl -s --fail "http://$address:10256/livez"
    "$dir/run" kubectl apply -f "$here/coredns.yaml" >/dev/null
    await "the account default" controllers 30 "$dir/run" kubectl get serviceaccount default
    "$dir/run" kubectl -n kube-system rollout status deployment/coredns --timeout 60s >/dev/null ||
        die "CoreDNS is not ready; $dir/run kubectl -n kube-system describe pods"
}

up() {
    [ "$(id -u)" = 0 ] || die "a node needs root: namespaces, mounts, cgroups"
    "$here/install-tools.sh"
    claim node
    trap '[ $? = 0 ] || say "what there is of the node stays for a look; remove it by: $0 down $dir"' EXIT
    mkdir -p "$dir/log" "$dir/state"
    save_sysctls
    ip netns add "$name"
    inside ip link set lo up
    inside ip link add nodebr type bridge
    inside ip addr add $address/24 dev nodebr
    inside ip link set nodebr up
    # No way out: no default route, no uplink.
    inside ip route add 10.96.0.0/16 dev nodebr
    inside sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables' 2>/dev/null || true
    printf '#!/bin/sh\nexport KUBECONFIG=%s/admin.kubeconfig PATH=%s:$PATH\nexec nsenter --net=/run/netns/%s "$@"\n' "$dir" "$bin" "$name" > "$dir/run"
    chmod +x "$dir/run"
    launch=(nsenter "--net=/run/netns/$name")
    certificates
    control_plane
    say "the control plane is up"
    base_images
    node
    say "the node is ready: $dir/run kubectl get pods -A"
}

# Only what a kubelet will change: beside another node there is nothing to put back.
save_sysctls() {
    local pair
    for pair in $kubelet_sysctls; do
        [ "$(sysctl -n "${pair%=*}")" = "${pair#*=}" ] || echo "${pair%=*}=$(sysctl -n "${pair%=*}")"
    done > "$dir/sysctl.saved"
}

down() {
    [ -n "$(ls -A "$dir")" ] || { rmdir "$dir"; return; }
    claimed node "node.sh up"
    end_program kubelet
    if runs containerd; then
        for task in $(images tasks ls -q 2>/dev/null); do images tasks kill -s SIGKILL "$task" >/dev/null 2>&1 || true; done
        sleep 1
        for container in $(images containers ls -q 2>/dev/null); do
            images tasks delete -f "$container" >/dev/null 2>&1 || true
            images containers delete "$container" >/dev/null 2>&1 || true
        done
    fi
    for program in proxy containerd scheduler controllers apiserver etcd; do end_program $program; done
    # Whatever else runs in this namespace was started by the programs above.
    local left
    left=$(ip netns pids "$name" 2>/dev/null || true)
    # shellcheck disable=SC2086 # several ids
    [ -z "$left" ] || kill -9 $left 2>/dev/null || true
    { grep -oE " ($dir|$run)/[^ ]*" /proc/mounts || true; } | sort -ru | xargs -r -n1 umount -l 2>/dev/null || true
    [ ! -s "$dir/sysctl.saved" ] || sysctl -q -p "$dir/sysctl.saved" || true
    for group in "/sys/fs/cgroup/$name" /sys/fs/cgroup/*/"$name"; do
        [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
    ip netns del "$name" 2>/dev/null || true
    rm -rf /var/lib/cni/results/"$name"-*
    rm -rf --one-file-system "$run" "$dir"
}

[ $# -ge 2 ] || usage
action=$1
case $action in
up) mkdir -p "$2" ;;
import | crash | down) [ -d "$2" ] || die "there is no folder $2; \`$0 up\` makes it" ;;
*) usage ;;
esac
dir=$(cd "$2" && pwd)
shift 2
# Everything of the machine that a node takes is named for its folder.
name=tollgate-$(printf '%s' "$dir" | cksum | cut -d' ' -f1)
run=/run/$name
case $action in
up) up ;;
down) down ;;
crash)
    claimed node "node.sh up"
    images tasks kill -s SIGKILL "${1#containerd://}"
    ;;
import)
    claimed node "node.sh up"
    for archive in "$@"; do images images import "$archive" >/dev/null; done
    ;;
esac
