//! Tests of lines, events, marks and limits.

use managed_app_runtimes::LogSource::{Stderr, Stdout};
use proptest::prelude::*;

use super::*;
use crate::reconciler::LOG_EVENT_PATTERN;

type Chunk<'a> = (LogSource, &'a [u8]);

/// Chunks are marked 1, 2, 3, ...; the time is ten times that.
fn joined(chunks: &[Chunk<'_>]) -> Vec<LogEvent<u64>> {
    let mut joiner = Joiner::new(0);
    for (number, (source, bytes)) in (1..).zip(chunks) {
        joiner.push(number as i64 * 10, *source, bytes, number);
    }
    joiner.flush();
    std::iter::from_fn(|| joiner.pop()).collect()
}

fn texts(chunks: &[&str]) -> Vec<String> {
    let chunks: Vec<Chunk<'_>> = chunks.iter().map(|chunk| (Stdout, chunk.as_bytes())).collect();
    joined(&chunks).into_iter().map(|event| event.text).collect()
}

#[test]
fn the_levels_are_those_of_the_contract() {
    let levels: Vec<_> = LOG_EVENT_PATTERN.trim_start_matches(r"^\[(").trim_end_matches(r")\]").split('|').collect();
    assert_eq!(levels.len(), LEVELS.len());
    for level in levels {
        assert!(begins_event(format!("[{level}] text").as_bytes()) && begins_event(format!("[{level}]").as_bytes()));
        for not in [format!(" [{level}]"), format!("[{level}"), format!("[{}]", level.to_lowercase()), level.to_owned()]
        {
            assert!(!begins_event(not.as_bytes()), "{not}");
        }
        assert!(level.len() + 2 <= HEAD_BYTES);
    }
}

#[test]
fn lines_without_a_level_belong_to_the_event_before() {
    let cases: [(&[&str], &[&str]); 7] = [
        (&["[INFO] a\n", "[INFO] b\n"], &["[INFO] a", "[INFO] b"]),
        (&["[ERROR] a\n", "Traceback\n", "  x\n", "[INFO] b\n"], &["[ERROR] a\nTraceback\n  x", "[INFO] b"]),
        (&["before\n", "[INFO] a\n"], &["before", "[INFO] a"]),
        (&["[IN", "FO] a", "b\n", "c\n"], &["[INFO] ab\nc"]),
        (&["[INFO] a\n", "\n", "b\n"], &["[INFO] a\n\nb"]),
        (&["\n", "\n", "a\n"], &["a"]),
        (&["[INFO] no end"], &["[INFO] no end"]),
    ];
    for (chunks, wanted) in cases {
        assert_eq!(texts(chunks), wanted, "{chunks:?}");
    }
}

#[test]
fn each_source_has_lines_of_its_own() {
    let events = joined(&[(Stdout, b"[INFO] o"), (Stderr, b"[ERROR] e\n"), (Stdout, b"ut\n"), (Stderr, b"more\n")]);
    let seen: Vec<_> = events.iter().map(|event| (event.text.as_str(), event.at_ms, event.mark)).collect();
    assert_eq!(seen, [("[ERROR] e", 20, 0), ("[INFO] out\nmore", 10, 4)], "an incomplete line is read again");
}

#[test]
fn a_mark_is_not_beyond_delivered_output() {
    let mut joiner = Joiner::new(0);
    for (number, line) in (1..).zip(["[INFO] a\n", "b\n", "[INFO] c\n"]) {
        joiner.push(0, Stdout, line.as_bytes(), number);
    }
    assert_eq!(joiner.pop().map(|event| event.mark), Some(2));
    assert_eq!(joiner.pop(), None, "it may get more lines");
    let waiting = joiner.waiting();
    joiner.push(0, Stdout, b"more", 4);
    assert_eq!(joiner.waiting(), waiting);
    joiner.flush();
    assert_eq!(joiner.pop().map(|event| (event.text, event.mark)), Some(("[INFO] c\nmore".to_owned(), 4)));
    assert_eq!(joiner.waiting(), None);
}

#[test]
fn volumes_count_every_byte_and_line() {
    let chunks: [Chunk<'_>; 5] =
        [(Stdout, b"\n"), (Stdout, b"[INFO] a\n"), (Stdout, b"b\n"), (Stderr, b"[INFO] c\n"), (Stdout, b"end")];
    let total: Volume = joined(&chunks).iter().map(|event| event.volume).sum();
    assert_eq!(total, Volume { lines: 4, bytes: 24 });
}

#[test]
fn invalid_utf8_is_replaced_per_byte_within_the_limit() {
    let events = joined(&[(Stdout, b"[INFO] \xff\xfe ok\n")]);
    assert_eq!(events[0].text, "[INFO] \u{fffd}\u{fffd} ok");
    let broken = vec![0xff; 300_000];
    let events = joined(&[(Stdout, &broken)]);
    assert!(events.iter().all(|event| event.text.len() <= EVENT_TEXT_BYTES_MAX));
    assert_eq!(events.iter().map(|event| event.text.chars().count()).sum::<usize>(), 300_000);
}

#[test]
fn ten_megabytes_without_a_newline_come_in_whole_characters() {
    let line = "ä€😀x".repeat(1_048_576);
    let chunks: Vec<Chunk<'_>> = line.as_bytes().chunks(16_384).map(|chunk| (Stdout, chunk)).collect();
    let events = joined(&chunks);
    assert!(events.iter().all(|event| event.text.len() <= EVENT_TEXT_BYTES_MAX));
    assert!(events.len() <= line.len() / (EVENT_TEXT_BYTES_MAX - 4) + 2, "{}", events.len());
    assert!(events.iter().map(|event| event.text.as_str()).collect::<String>() == line);
}

proptest! {
    #[test]
    fn no_byte_is_lost_however_output_is_cut(
        lines in prop::collection::vec("(\\[INFO\\] )?[a-zä ]{0,12}", 1..40),
        cuts in prop::collection::vec(1_usize..20, 1..200),
        flushes in prop::collection::vec(any::<bool>(), 200),
    ) {
        let whole = lines.join("\n") + "\n";
        let mut joiner = Joiner::new(0);
        let (mut number, mut events) = (0, Vec::new());
        for line in whole.as_bytes().split_inclusive(|byte| *byte == b'\n') {
            let mut rest = line;
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(cuts[number % cuts.len()].min(rest.len()));
                rest = after;
                number += 1;
                joiner.push(0, Stdout, chunk, number);
                // Only between lines: a flush inside a line splits it by design.
                if rest.is_empty() && flushes[number % flushes.len()] {
                    joiner.flush();
                }
                events.extend(std::iter::from_fn(|| joiner.pop()));
            }
        }
        joiner.flush();
        events.extend(std::iter::from_fn(|| joiner.pop()));
        let wanted: Vec<&str> = lines.iter().map(String::as_str).filter(|line| !line.is_empty()).collect();
        let found: Vec<&str> = events.iter().flat_map(|event| event.text.split('\n')).filter(|l| !l.is_empty()).collect();
        prop_assert_eq!(found, wanted);
        prop_assert!(events.is_sorted_by_key(|event| event.mark));
        prop_assert!(events.iter().all(|event| !event.text.is_empty()));
    }
}
