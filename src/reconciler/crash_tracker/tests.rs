//! Exits of a process as engines show them, from list to list.

use managed_app_runtimes::{ContainerId, ContainerState, ImageId, Origin};
use time::OffsetDateTime;

use super::*;

fn seconds(count: f64) -> Duration {
    Duration::from_secs_f64(count)
}

fn running() -> ContainerState {
    ContainerState::Running
}

fn exited(code: i64) -> ContainerState {
    ContainerState::Exited { code: Some(code) }
}

/// One sample: time, state, the engine's count, start of the newest run, last exit and its code.
type Sample = (f64, ContainerState, u64, f64, Option<(f64, Option<i64>)>);

fn at(second: f64) -> Option<OffsetDateTime> {
    Some(OffsetDateTime::UNIX_EPOCH + seconds(second))
}

fn observed((_, state, restarts, started, ended): &Sample) -> Instance {
    Instance {
        id: ContainerId("c1".to_owned()),
        node: "a".to_owned(),
        name: "a".to_owned(),
        image_id: ImageId("sha256:1".to_owned()),
        state: state.clone(),
        origin: Origin::Labelled,
        networks: vec![],
        record: None,
        revision: None,
        started_at: at(*started),
        restarts: Some(*restarts),
        last_exit: ended.map(|(ended, code)| ProcessExit { code, is_oom: false, at: at(ended) }),
    }
}

/// The tracker after `checks`, the first of which shows an unknown container.
fn after(checks: &[Sample]) -> CrashTracker {
    let mut crash_tracker = CrashTracker::default();
    let mut before = None;
    for sample in checks {
        let seen = observed(sample);
        crash_tracker.observe(before.as_ref(), &seen, seconds(sample.0));
        before = Some(seen);
    }
    crash_tracker
}

/// Delays after runs of `runs` milliseconds, one after another.
fn pauses(runs: &[u64]) -> Vec<Duration> {
    let (mut crash_tracker, mut now) = (CrashTracker::default(), Duration::from_secs(1));
    let pause = |run: &u64| {
        crash_tracker.started(now);
        now += Duration::from_millis(*run);
        crash_tracker.ended(1, None, true, now);
        let pause = crash_tracker.pause(now).map_or(Duration::ZERO, |until| until - now);
        now += pause;
        pause
    };
    runs.iter().map(pause).collect()
}

#[test]
fn delays_grow_to_a_maximum_and_a_long_run_resets_them() {
    let ms = |all: &[u64]| all.iter().map(|ms| Duration::from_millis(*ms)).collect::<Vec<_>>();
    assert_eq!(pauses(&[60_000, 5, 5, 5]), ms(&[0, 100, 200, 400]));
    assert_eq!(pauses(&[5; 40])[10..], [PAUSE_MAX; 30]);
    assert_eq!(pauses(&[5, 5, 10_000, 5]), ms(&[100, 200, 0, 100]));
}

/// As seen on Docker 20.10: the count grows at the exit, the code is gone when the next run has begun.
#[test]
fn each_end_on_docker_counts_once() {
    let restarting = || ContainerState::Restarting;
    let checks: Vec<Sample> = vec![
        (0.0, running(), 0, 0.0, None),
        (0.4, restarting(), 1, 0.0, Some((0.4, Some(3)))),
        (1.0, running(), 1, 0.6, Some((0.4, None))),
        (1.1, running(), 1, 0.6, Some((0.4, None))),
        // Two exits between two lists.
        (2.0, running(), 3, 1.9, Some((1.5, None))),
        (2.5, restarting(), 4, 1.9, Some((2.3, Some(3)))),
        // An exit and a start between two lists.
        (3.5, restarting(), 5, 3.1, Some((3.4, Some(4)))),
    ];
    let counts: Vec<u32> = (1..=checks.len()).map(|until| after(&checks[..until]).ends).collect();
    assert_eq!(counts, [0, 1, 1, 1, 3, 4, 5]);
    let crash_loop = after(&checks).crash_loop().expect("it is one");
    assert_eq!((crash_loop.count, crash_loop.last.code, crash_loop.last.at), (5, Some(4), at(3.4)));
    assert_eq!(crash_loop.window, Some(seconds(3.5)));
    assert_eq!(crash_loop.next_start, Some(NextStart { pause: Duration::from_millis(1_600), by_engine: true }));
}

/// As seen on Podman 4.3: the count grows at the start, and there is no delay.
#[test]
fn each_end_on_podman_counts_once() {
    let checks: Vec<Sample> = vec![
        (0.0, running(), 0, 0.0, None),
        (0.4, exited(3), 0, 0.0, Some((0.4, Some(3)))),
        (1.0, running(), 1, 0.6, Some((0.4, None))),
        (2.0, running(), 2, 1.6, Some((1.2, None))),
        (3.0, exited(3), 4, 2.6, Some((2.9, Some(3)))),
        (4.0, exited(3), 5, 3.2, Some((3.6, Some(3)))),
    ];
    let counts: Vec<u32> = (1..=checks.len()).map(|until| after(&checks[..until]).ends).collect();
    assert_eq!(counts, [0, 1, 1, 2, 5, 6]);
}

#[test]
fn crash_loop_before_the_daemon_has_the_count_of_the_engine() {
    let restarting = |started: f64| (100.0, ContainerState::Restarting, 26, started, Some((99.0, Some(139))));
    let crash_loop = after(&[restarting(98.5)]).crash_loop().expect("it is one");
    assert_eq!((crash_loop.count, crash_loop.window), (26, None));
    assert_eq!(crash_loop.next_start, Some(NextStart { pause: PAUSE_MAX, by_engine: true }));
    assert_eq!(crash_loop.to_string(), "crash loop: exited 139 (SIGSEGV) 26 times");
    // One exit after weeks is no crash loop, whatever the count before.
    let long_ago = (100.0, ContainerState::Restarting, 26, 0.0, Some((99_000.0, Some(1))));
    assert_eq!(after(&[long_ago]).crash_loop(), None);
    assert_eq!(after(&[(100.0, running(), 26, 90.0, Some((80.0, None)))]).ends, 0);
}

#[test]
fn exit_code_and_oom_kill_come_from_events_before_the_list() {
    let started = (0.0, running(), 0, 0.0, None);
    let late = (1.0, running(), 1, 0.6, Some((0.4, None)));
    for is_event_first in [true, false] {
        let mut crash_tracker = after(std::slice::from_ref(&started));
        let send_events = |crash_tracker: &mut CrashTracker| {
            crash_tracker.on_oom_event();
            crash_tracker.on_exit_event(Some(137));
        };
        if is_event_first {
            send_events(&mut crash_tracker);
        }
        crash_tracker.observe(Some(&observed(&started)), &observed(&late), seconds(1.0));
        if !is_event_first {
            send_events(&mut crash_tracker);
        }
        let wanted = ProcessExit { code: Some(137), is_oom: true, at: at(0.4) };
        assert_eq!(crash_tracker.last_exit(), Some(wanted), "{is_event_first}");
    }
}

#[test]
fn a_crash_loop_is_over_when_the_process_has_stayed_up() {
    let mut crash_tracker = CrashTracker::default();
    let mut now = Duration::ZERO;
    for _ in 0..5 {
        crash_tracker.started(now);
        // Too long for a delay, too short to end the crash loop.
        now += Duration::from_secs(60);
        crash_tracker.ended(1, None, true, now);
    }
    assert_eq!((crash_tracker.ends, crash_tracker.pause(now)), (5, None));
    crash_tracker.take_notice(now);
    crash_tracker.started(now);
    assert_eq!(crash_tracker.clears_at(), Some(now + OVER_AFTER));
    crash_tracker.clear(now + OVER_AFTER - Duration::from_millis(1));
    assert!(crash_tracker.crash_loop().is_some() && crash_tracker.take_notice(now).is_none());
    crash_tracker.clear(now + OVER_AFTER);
    assert_eq!(crash_tracker.crash_loop(), None);
    assert_eq!(crash_tracker.take_notice(now), Some(CrashLoopNotice::Over { count: 5 }));
    assert_eq!(crash_tracker.take_notice(now), None);
}

#[test]
fn reports_become_rare() {
    let reports = |run: Duration, ends: u32| {
        let (mut crash_tracker, mut now, mut reported) = (CrashTracker::default(), Duration::ZERO, Vec::new());
        for _ in 0..ends {
            crash_tracker.started(now);
            now += run;
            crash_tracker.ended(1, None, true, now);
            if let Some(CrashLoopNotice::GoingOn(crash_loop)) = crash_tracker.take_notice(now) {
                reported.push(crash_loop.count);
            }
        }
        reported
    };
    assert_eq!(reports(Duration::from_millis(5), 1_000), [3, 10, 30, 100, 300, 1_000]);
    assert_eq!(reports(Duration::from_secs(60), 200), [3, 10, 30, 90, 100, 160], "at least once an hour");
    assert_eq!(next_threshold(u32::MAX), u32::MAX);
}

/// A container that replaces a crashed one can already run in the first list that shows it.
#[test]
fn a_run_whose_start_was_not_observed_ends_a_crash_loop() {
    let mut crash_tracker = after(&[
        (0.0, running(), 0, 0.0, None),
        (2.0, running(), 3, 1.9, Some((1.5, Some(1)))),
        (2.5, exited(1), 3, 1.9, Some((2.4, Some(1)))),
    ]);
    crash_tracker.observe_running(false, seconds(2.5));
    assert!(crash_tracker.crash_loop().is_some());
    assert_eq!(crash_tracker.clears_at(), None);
    crash_tracker.observe_running(true, seconds(10.0));
    crash_tracker.observe_running(true, seconds(100.0));
    assert_eq!(crash_tracker.clears_at(), Some(seconds(130.0)));
    crash_tracker.clear(seconds(130.0));
    assert_eq!(crash_tracker.crash_loop(), None);
}
