# shellcheck shell=bash
# Common functions of the scripts that start test engines: packages, and settings of Podman for this machine.
# Sourced, not run. The caller sets `-euo pipefail`.

# The scripts parse output of programs, and other users read files (that of apt, and those in the tree of debootstrap).
export LC_ALL=C.UTF-8
unset LANGUAGE
umask 022

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# install_packages NAME...: installs missing packages with apt-get.
install_packages() {
    local missing=() package
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    echo "$(basename "$0"): installing ${missing[*]}" >&2
    local log
    log=$(mktemp)
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } \
        >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        fail "failed to install ${missing[*]} with apt-get; the tests need them"
    fi
    rm -f "$log"
}

has_sys_resource() {
    local effective
    effective=$(awk '/^CapEff/ { print $2 }' /proc/self/status)
    (((16#$effective >> 24) & 1)) # bit 24 is CAP_SYS_RESOURCE
}

# podman_settings [LINE...]: a containers.conf for a private Podman; the lines go into its section [network].
podman_settings() {
    echo '[containers]'
    # Podman raises the limits of containers by default; this needs a capability that some machines do not have.
    has_sys_resource || echo 'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]'
    echo '[network]'
    echo 'network_backend = "netavark"'
    printf '%s\n' "$@"
    echo '[engine]'
    # The journal and the cgroups of systemd are not available in a private process namespace.
    echo 'events_logger = "file"'
    echo 'cgroup_manager = "cgroupfs"'
    # crun, the default, does not support the older layout of cgroups.
    [[ $(stat -f -c %T /sys/fs/cgroup) == cgroup2fs ]] || echo 'runtime = "runc"'
}
