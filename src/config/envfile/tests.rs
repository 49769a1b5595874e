//! The syntax of environment files as a table.

use super::*;

fn check(text: &str, expected: &[(&str, &str, usize)]) {
    let (entries, errors) = parse(text);
    let entries: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.value.as_str(), e.line)).collect();
    assert_eq!(entries, expected, "text: {text:?}");
    assert_eq!(errors, [], "text: {text:?}");
}

fn check_errors(text: &str, expected: &[(usize, &str)]) {
    let (_, errors) = parse(text);
    assert_eq!(errors.len(), expected.len(), "text: {text:?}, errors: {errors:?}");
    for (error, (line, part)) in errors.iter().zip(expected) {
        assert_eq!(error.line, *line, "text: {text:?}");
        assert!(error.reason.contains(part), "{error:?} should contain {part:?}");
    }
}

#[test]
fn unquoted_values_are_trimmed_and_not_expanded() {
    check("", &[]);
    check("A=1", &[("A", "1", 1)]);
    check("A=1\n", &[("A", "1", 1)]);
    check("  A  =  one two \t\nB=2", &[("A", "one two", 1), ("B", "2", 2)]);
    check("A=", &[("A", "", 1)]);
    check("A=\nB=2", &[("A", "", 1), ("B", "2", 2)]);
    check("A=x=y=", &[("A", "x=y=", 1)]);
    check("A=$HOME `id` ${B}", &[("A", "$HOME `id` ${B}", 1)]);
    check("A=1 # no comment", &[("A", "1 # no comment", 1)]);
    check("A=it's \"so\"", &[("A", "it's \"so\"", 1)]);
    check("A=ünïcode ✓", &[("A", "ünïcode ✓", 1)]);
    check("_a9=1\nA=1\nA=2", &[("_a9", "1", 1), ("A", "1", 2), ("A", "2", 3)]);
}

#[test]
fn comments_and_blank_lines_are_skipped() {
    check("# c\n; c\n\n \t\n  # c\nA=1", &[("A", "1", 6)]);
    check("# ends in a backslash \\\nA=1", &[("A", "1", 2)]);
    check("# only", &[]);
    check("# A=1", &[]);
}

#[test]
fn env_file_lines_may_end_with_crlf() {
    check("A=1\r\nB=2 \r\n\r\nC=\"3\"\r\n", &[("A", "1", 1), ("B", "2", 2), ("C", "3", 4)]);
    check("A=1\\\r\n2\r\nB=3", &[("A", "12", 1), ("B", "3", 3)]);
}

#[test]
fn a_backslash_escapes_in_bare_values() {
    check(r"A=\\", &[("A", r"\", 1)]);
    check(r"A=a\bc", &[("A", "abc", 1)]);
    check(r"A=\'x\'", &[("A", "'x'", 1)]);
    check("A=kept\\ \nB=2", &[("A", "kept ", 1), ("B", "2", 2)]);
    check("A=one\\\n  two\nB=2", &[("A", "one  two", 1), ("B", "2", 3)]);
    check("A=\\\n\\\nx", &[("A", "x", 1)]);
    check("A=x\\", &[("A", "x", 1)]);
}

#[test]
fn quoted_values_keep_their_characters() {
    check("A='  a # b  '", &[("A", "  a # b  ", 1)]);
    check(r#"A='a\n"b"'"#, &[("A", r#"a\n"b""#, 1)]);
    check(r#"A="a \" \\ \$ \` \n""#, &[("A", r#"a " \ $ ` \n"#, 1)]);
    check("A=\"one\ntwo\"\nB=2", &[("A", "one\ntwo", 1), ("B", "2", 3)]);
    check("A='one\ntwo'\nB=2", &[("A", "one\ntwo", 1), ("B", "2", 3)]);
    check("A=\"one\\\ntwo\"", &[("A", "onetwo", 1)]);
    check("A='a'\"b\"c", &[("A", "abc", 1)]);
    check("A='a' 'b'", &[("A", "ab", 1)]);
    check("A=''", &[("A", "", 1)]);
    check("A=' x '  \nB=2", &[("A", " x ", 1), ("B", "2", 2)]);
}

#[test]
fn syntax_errors_name_the_line_and_the_reason() {
    check_errors("A", &[(1, "no `=`")]);
    check_errors("A=1\n\njust words\nB=2\n9A=1\n", &[(3, "no `=`"), (5, "valid name")]);
    check_errors("=1", &[(1, "valid name")]);
    check_errors("A B=1", &[(1, "valid name")]);
    check_errors("A-B=1", &[(1, "valid name")]);
    check_errors("É=1", &[(1, "valid name")]);
    check_errors("\u{feff}A=1", &[(1, "valid name")]);
    check_errors("export A=1", &[(1, "export")]);
    check_errors("A=1\nB='open\nC=3", &[(2, "single quote")]);
    check_errors("A=1\nB=\"open\\", &[(2, "double quote")]);
    check_errors("A=a\0b", &[(1, "NUL")]);
}

#[test]
fn valid_lines_are_parsed_beside_invalid_ones() {
    let (entries, errors) = parse("A=1\nbad\nB=2");
    assert_eq!(entries.len(), 2);
    assert_eq!(errors.len(), 1);
}

#[test]
fn values_are_not_in_debug() {
    let (entries, _) = parse("PASSWORD=hunter2");
    assert_eq!(format!("{entries:?}"), "[Entry(PASSWORD, line 1)]");
}

proptest::proptest! {
    #[test]
    fn any_value_survives_quoting(value in "[^\0\r]{0,40}") {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$").replace('`', "\\`");
        check_value(&format!("A=\"{escaped}\"\nB=2"), &value);
    }

    #[test]
    fn any_value_of_one_line_survives_backslashes(value in "[^\0\r\n]{0,40}") {
        let escaped: String = value.chars().flat_map(|next| ['\\', next]).collect();
        check_value(&format!("A={escaped}\nB=2"), &value);
    }

    #[test]
    fn any_env_file_text_is_parsed_to_its_end(text in "[AB=\"'\\\\ \n\r#x]{0,60}") {
        let (entries, errors) = parse(&text);
        let lines = text.matches('\n').count() + 1;
        let all = entries.iter().map(|entry| entry.line).chain(errors.iter().map(|error| error.line));
        assert!(all.into_iter().all(|line| (1..=lines).contains(&line)), "{text:?}");
    }
}

/// The next assignment is parsed too, so the value ends at the right character.
fn check_value(text: &str, expected: &str) {
    let (entries, errors) = parse(text);
    assert_eq!(errors, [], "text: {text:?}");
    assert_eq!(entries.len(), 2, "text: {text:?}");
    assert_eq!((entries[0].value.as_str(), entries[1].value.as_str()), (expected, "2"), "text: {text:?}");
}
