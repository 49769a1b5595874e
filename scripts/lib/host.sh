# shellcheck shell=bash
# A temporary host for installed packages: systemd as process 1 of separate namespaces, on a copy-on-write view of the files
# of this machine. It needs no image and no download, and changes no files here. The network is a private loopback; the
# engines are those of scripts/engines, by their sockets.
# Sourced, not run. The caller has sourced setup.sh, sets `tag`, which is part of all names that it creates, and passes its
# arguments to `boot` if the first one is `boot`.

# The cgroup hierarchies of systemd: one, or two with the older layout.
hierarchies=(/sys/fs/cgroup)
[[ $(stat -f -c %T /sys/fs/cgroup) == cgroup2fs ]] || hierarchies=(/sys/fs/cgroup/systemd /sys/fs/cgroup/unified)
wait_limit_s=60
# `cleanup` also removes these images of the engines and directories of this machine.
images=()
folders=()

# --- Inside -----------------------------------------------------------------------------------------------------------

# boot DIR TREE SOCKETS: makes a view of the files the root directory and executes systemd.
boot() {
    local dir=$1 tree=$2 sockets=$3 root=$1/root device
    mount --make-rprivate /
    mount -t tmpfs -o mode=755 tmpfs "$dir"
    mkdir "$dir"/{upper,work,root}
    mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$root"
    mount -t proc proc "$root/proc"
    mount --bind "$root/proc/sys" "$root/proc/sys"
    mount -o remount,bind,ro "$root/proc/sys"
    mount -t sysfs -o ro sysfs "$root/sys"
    if ((${#hierarchies[@]} == 1)); then
        mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    else
        mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
        mkdir "$root"/sys/fs/cgroup/{systemd,unified}
        mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
        mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
    fi
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    for device in null zero full random urandom tty; do
        touch "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    # A unit with PrivateDevices gets its devices from here.
    mkdir "$root"/dev/{shm,pts}
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    mkdir -p "$root"/run/{tree,engine}
    mount --bind "$tree" "$root/run/tree"
    mount --bind "$sockets" "$root/run/engine"
    mount -t tmpfs tmpfs "$root/tmp"
    # No services and no keys of this machine.
    rm -rf "$root"/etc/systemd/system/*.wants "$root/etc/echostream-managed-app.env" "$root/root/.aws"
    ip link set lo up
    mkdir "$root/run/old"
    cd "$root"
    pivot_root . run/old
    umount -l /run/old
    exec env -i container=oci PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --system --unit=basic.target </dev/null >/dev/null 2>&1
}

# --- From outside -----------------------------------------------------------------------------------------------------

inside() {
    nsenter --target "$init" --mount --pid --net --uts --ipc --cgroup env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        DEBIAN_FRONTEND=noninteractive HOME=/root "$@"
}

# The current engine of the nodes.
engine=docker
engine_cli() {
    case $engine in
        docker) docker --host "$MANAGED_APP_TEST_DOCKER" "$@" ;;
        podman) podman --remote --url "$MANAGED_APP_TEST_PODMAN" "$@" ;;
    esac
}

# The path of its socket in the view.
engine_socket() {
    local address=MANAGED_APP_TEST_${engine^^}
    echo "/run/engine/$(basename "${!address}")"
}

cleanup() {
    [[ -z ${init:-} ]] || kill -KILL "$init" 2>/dev/null || true
    for engine in docker podman; do
        engine_cli ps --all --quiet --filter "name=$tag" | while read -r id; do engine_cli rm --force "$id"; done
        engine_cli network ls --quiet --filter "name=$tag" | while read -r id; do engine_cli network rm "$id"; done
        ((${#images[@]} == 0)) || engine_cli rmi --force "${images[@]}" 2>&1 || true
    done >/dev/null
    rm -rf "${folders[@]}"
    # Its processes take a moment to end.
    local tries hierarchy
    for hierarchy in "${hierarchies[@]}"; do
        for tries in 1 2 3 4 5; do
            find "$hierarchy/$tag" -depth -type d -exec rmdir {} + 2>/dev/null && break
            sleep "0.$tries"
        done
    done
}

step() { printf '%s: %s\n' "$(basename "$0")" "$*"; }

# until_true WHAT COMMAND...
until_true() {
    local what=$1 deadline=$((SECONDS + wait_limit_s))
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= deadline)); then
            inside journalctl --no-pager --lines 40 --unit echostream-managed-app >&2 || true
            fail "timeout after $wait_limit_s s: $what"
        fi
        sleep 0.2
    done
}

is() { # is WHAT EXPECTED FOUND
    [[ $2 == "$3" ]] || fail "$1: expected '$2', found '$3'"
}

show() { inside systemctl show --value --property "$1" echostream-managed-app; }

# run_of NAME: identifies the container and its process.
run_of() { engine_cli inspect --format '{{.Id}} {{.State.StartedAt}}' "$1"; }

# make_image NAME: builds an image of a busybox that runs the script on standard input.
make_image() {
    local files
    files=$(mktemp -d)
    install -D /bin/busybox "$files/busybox"
    cat >"$files/node.sh"
    tar -C "$files" -c busybox node.sh | engine_cli import --change 'ENTRYPOINT ["/busybox", "sh", "/node.sh"]' - "$1" >/dev/null
    rm -rf "$files"
    images+=("$1")
}

start_systemd() {
    local self hierarchy
    self=$(realpath "$0")
    (
        # The root of its view: its cgroups must be separate from those of this machine.
        for hierarchy in "${hierarchies[@]}"; do
            mkdir "$hierarchy/$tag"
            echo "$BASHPID" >"$hierarchy/$tag/cgroup.procs"
        done
        exec setsid unshare --mount --pid --net --uts --ipc --cgroup --fork --kill-child "$self" boot "$dir" "$PWD" \
            "$(dirname "${MANAGED_APP_TEST_DOCKER#unix://}")" >"$dir.log" 2>&1 </dev/null
    ) &
    local supervisor=$! deadline=$((SECONDS + wait_limit_s))
    until init=$(pgrep --parent "$supervisor") && inside systemctl is-system-running >/dev/null 2>&1; do
        kill -0 "$supervisor" 2>/dev/null && ((SECONDS < deadline)) || fail "systemd does not run: $(cat "$dir.log")"
        sleep 0.1
    done
    rm -f "$dir.log"
}

# serve_fake_cloud: starts a fake cloud with the seed on standard input.
serve_fake_cloud() {
    inside tee /tmp/seed.toml >/dev/null
    inside systemd-run --quiet --unit fake-cloud "$program" fake-cloud serve --seed /tmp/seed.toml
    until_true 'the fake cloud answers' inside "$program" fake-cloud show
}

# write_settings: writes the settings of the fake cloud and those on standard input, readable by root only.
write_settings() {
    inside sh -c "umask 077; $program fake-cloud env >/etc/echostream-managed-app.env; cat >>/etc/echostream-managed-app.env"
}

# is_settled COUNT: whether the daemon has received every change and COUNT nodes match the desired state.
is_settled() {
    inside "$program" fake-cloud show | grep -q ' 0 changes not received' &&
        inside echostream-managed-app status --json | python3 -c 'import json, sys
report = json.load(sys.stdin)
good = [n for n in report["nodes"] if n["state"] == "running" and n["is_settled"] and n["error"] is None]
sys.exit(not (report["daemon"]["is_converged"] and len(good) == len(report["nodes"]) == int(sys.argv[1])))' "$1"
}
