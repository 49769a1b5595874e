# shellcheck shell=bash
# Builds the package of an earlier commit below target/before, for tests of upgrades and downgrades. It reuses third-party
# crates from the build of this tree, so that only the crates of this workspace are compiled.
# Sourced, not run. The caller has sourced setup.sh, and its working directory is the root of the tree.

before_tree=target/before
# The sources of the program and its package.
program_paths=(src runtimes/src Cargo.toml Cargo.lock packaging)

# before_commit: prints the commit $MANAGED_APP_BEFORE, or the newest one with another program than this tree. Prints nothing
# without a history.
before_commit() {
    local changed
    if [[ -n ${MANAGED_APP_BEFORE:-} ]]; then
        git rev-parse --quiet --verify "$MANAGED_APP_BEFORE^{commit}" || fail "there is no commit $MANAGED_APP_BEFORE"
        return
    fi
    if ! git diff --quiet HEAD -- "${program_paths[@]}" 2>/dev/null; then
        git rev-parse --quiet --verify HEAD || true
        return
    fi
    changed=$(git rev-list --max-count 1 --first-parent HEAD -- "${program_paths[@]}")
    git rev-parse --quiet --verify "$changed^" || true
}

# Reuses third-party crates from the build of this tree. Libraries are hard links; the rest is copied, because cargo writes
# some of it in place.
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

# build_before COMMIT: prints the path of its package; reuses that of an earlier call for the same commit.
build_before() {
    local commit=$1 built=$before_tree/target/built
    if [[ ! -s $built || $(head -n 1 "$built") != "$commit" ]]; then
        rm -rf "$before_tree"
        mkdir -p "$before_tree"
        # Without modification times, because cargo does not rebuild sources older than a build.
        git archive "$commit" | tar --extract --touch --directory "$before_tree"
        seed_before
        (
            cd "$before_tree"
            # With a test, because features of dev-dependencies change those of other crates.
            CARGO_INCREMENTAL=0 CARGO_TARGET_DIR=target cargo build --quiet --workspace --all-features --bin echostream-managed-app \
                --test architecture
            COMPRESSION=fast DEB_VERSION=0.0.1-0 scripts/package deb debug
        ) >"$before_tree/package"
        { echo "$commit" && tail -n 1 "$before_tree/package"; } >"$built"
    fi
    echo "$before_tree/$(tail -n 1 "$built")"
}
