# shellcheck shell=bash
# The package of a commit before, for tests of upgrades and downgrades. Built below target/before, with the crates of others
# that the build of this tree has made, so that only ours are compiled.
# Sourced, not run. The caller has sourced setup.sh, and its working directory is the root of the tree.

before_tree=target/before
# What the program and its package are made of.
program_paths=(src runtimes/src Cargo.toml Cargo.lock packaging)

# before_commit: that of $MANAGED_APP_BEFORE, or the newest one whose program is not that of this tree. Empty where there is
# no history.
before_commit() {
    local changed
    if [[ -n ${MANAGED_APP_BEFORE:-} ]]; then
        git rev-parse --quiet --verify "$MANAGED_APP_BEFORE^{commit}" || fail "no commit is called $MANAGED_APP_BEFORE"
        return
    fi
    if ! git diff --quiet HEAD -- "${program_paths[@]}" 2>/dev/null; then
        git rev-parse --quiet --verify HEAD || true
        return
    fi
    changed=$(git rev-list --max-count 1 --first-parent HEAD -- "${program_paths[@]}")
    git rev-parse --quiet --verify "$changed^" || true
}

# Takes the crates of others from the build of this tree. Libraries are hard links, which cost nothing; the rest is copied,
# since cargo writes some of it in place.
seed_before() {
    local from=target/debug into=$before_tree/target/debug
    rm -rf "$before_tree/target"
    mkdir -p "$into/deps"
    find "$from/deps" -maxdepth 1 \( -name '*.rlib' -o -name '*.rmeta' -o -name '*.so' \) ! -name '*managed_app*' -print0 |
        xargs --null cp --archive --link --target-directory "$into/deps"
    cp --archive "$from/build" "$from/.fingerprint" "$into/"
    rm -rf "$into"/{build,.fingerprint}/*managed-app*
    ln -s "$PWD"/target/cargo-deb-* "$before_tree/target/"
}

# build_before COMMIT: the path of its package, from an earlier call if that was for the same commit.
build_before() {
    local commit=$1 built=$before_tree/target/built
    if [[ ! -s $built || $(head -n 1 "$built") != "$commit" ]]; then
        rm -rf "$before_tree"
        mkdir -p "$before_tree"
        # Without its times, as cargo would take sources older than a build for built.
        git archive "$commit" | tar --extract --touch --directory "$before_tree"
        seed_before
        (
            cd "$before_tree"
            # With a test, as the features of crates that only tests use change those of others.
            CARGO_INCREMENTAL=0 CARGO_TARGET_DIR=target cargo build --quiet --workspace --all-features --bin echostream-managed-app \
                --test architecture
            COMPRESSION=fast DEB_VERSION=0.0.1-0 scripts/package deb debug
        ) >"$before_tree/package"
        { echo "$commit" && tail -n 1 "$before_tree/package"; } >"$built"
    fi
    echo "$before_tree/$(tail -n 1 "$built")"
}
