# Summary of the output of `cargo test --no-fail-fast`: a line for each suite with the number of its tests and its seconds,
# the longest first; then each failed test, and each suite that ended without a result.

/^ +Running / {
    suite = $0
    sub(/^ +Running (unittests )?/, "", suite)
    # The path of its program. That of unit tests has the name of the crate.
    program = suite
    sub(/.*\//, "", program)
    sub(/-[0-9a-f]+\)$/, "", program)
    sub(/ \([^()]*\)$/, "", suite)
    if (suite ~ /^src\//) suite = suite " of " program
    has_result = 0
}
/^ +Doc-tests / { suite = "doc tests of " $2; has_result = 0 }

# The last such list before the result has the names; earlier ones contain the output of tests.
/^failures:$/ { names = 0; is_list = 1; next }
is_list && /^    [^ ]/ { listed[++names] = substr($0, 5) }

/^test result: / {
    match($0, /finished in [0-9.]+/)
    rows[++count] = sprintf("%8.1f s %5d passed %3d failed  %s", substr($0, RSTART + 12, RLENGTH - 12), $4, $6, suite)
    for (i = 1; i <= names && $3 == "FAILED."; i++) failures[++total] = suite ": " listed[i]
    names = is_list = 0
    has_result = 1
}
/^error: (test|bench) failed, to rerun pass / && !has_result { failures[++total] = suite ": ended without a result" }

END {
    for (i = 1; i <= count; i++) print rows[i] | "sort -rn"
    close("sort -rn")
    for (i = 1; i <= total; i++) print "FAILED  " failures[i]
}
