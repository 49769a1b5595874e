//! The conformance suite: one set of checks for every backend, one check for each sentence of the trait's contract, and
//! the life of workloads of a [`HostEngine`](crate::HostEngine) over it.
//!
//! It owns the checks, the images they run, and helpers to disturb an engine. It does not know any backend: the effect
//! of a backend is inspected with the engine's own tools.
//!
//! # How to test your own backend
//!
//! Implement [`ContainerRuntime`](crate::ContainerRuntime). If your engine has a command line with Docker's commands
//! (`container inspect`, `network ls`, `volume ls`, `import`, ...), pass a [`CliSubject`] the command, the engine's
//! Unix socket and a function that connects your backend to a socket; otherwise implement [`Subject`]. Then call
//! [`run`] in a test with feature `conformance`. Required on the host: a static busybox at `/bin/busybox`,
//! `docker-registry` and `htpasswd` (Debian: `busybox-static`, `docker-registry`, `apache2-utils`).
//!
//! ```no_run
//! use std::path::PathBuf;
//! use std::sync::Arc;
//!
//! use managed_app_runtimes::conformance::{self, Cli, CliSubject, Runtime};
//! use managed_app_runtimes::{Limits, Result};
//!
//! # async fn connect_mine(_: PathBuf, _: Limits) -> Result<Runtime> { std::future::pending().await }
//! # async fn example() -> conformance::Outcome {
//! // `connect_mine` makes your backend: `Ok(Arc::new(MyRuntime::connect(socket, limits).await?))`.
//! let connect = Box::new(|socket: PathBuf, limits: Limits| -> conformance::Connecting {
//!     Box::pin(connect_mine(socket, limits))
//! });
//! let cli = Cli::new("nerdctl", &["--namespace", "test"]);
//! let subject = CliSubject::new("nerdctl 2", cli, "/run/mine.sock", connect).await?;
//! let report = conformance::run(&subject).await;
//! println!("{}", report.to_markdown());
//! assert!(report.failures().is_empty(), "{}", report.details());
//! # Ok(())
//! # }
//! ```
//!
//! [`CliSubject::except`] excludes a check that your engine cannot pass, with a reason that appears in the table.
//! [`CliSubject::restarted_by`] sets the command for the check that restarts the engine; without it that check is not
//! run, which the table shows. [`CliSubject::networks_in`] sets the directory of an engine that rejects the removal of
//! a network in use. [`Report::merge`] combines the reports of several engines into one table; for engines tested by
//! different programs, use [`Report::save`] and the example `conformance_table`.

mod bench;
mod cli;
mod events;
mod faults;
mod host;
mod image;
mod inspect;
mod lifecycle;
mod logs;
mod outcome;
mod ownership;
mod port;
mod proxy;
mod pull;
mod references;
mod registry;
mod report;
mod spec;
mod stop;
mod subject;
mod volumes;
mod workloads;

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

pub use cli::{Cli, CliSubject, Connect, Connecting};
pub use host::host_engine;
pub use outcome::{Failure, Outcome};
pub use port::free_port;
pub use proxy::StallingProxy;
pub use registry::TestRegistry;
pub use report::{Report, Verdict};
pub use subject::{
    Act, BROKEN_UTF8, CONTROL, Disturbance, LINES, LONG_LINE_BYTES, PROGRAM_VARIABLE, Program, Runtime, Seen,
    SeenMount, Subject,
};

use bench::Bench;

/// Longest duration of a single check.
const CHECK_LIMIT: Duration = Duration::from_secs(120);
/// Concurrent checks.
const CHECKS_AT_ONCE: usize = 4;

/// One check of the suite.
#[derive(Clone, Copy)]
pub struct Check {
    /// Its name, a statement.
    pub name: &'static str,
    /// Scope of its disturbance, besides itself.
    disturbs: Disturbs,
    run: for<'a> fn(&'a Bench<'a>) -> BoxFuture<'a, Outcome>,
}

/// Scope of the disturbance by a check, besides itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disturbs {
    Nothing,
    /// Users of the same connection to the engine.
    Connection,
    /// All users of the engine.
    Engine,
}

/// A list of checks from async functions that take a bench; the name of the function is the name of the check.
macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        &[$($crate::conformance::Check {
            name: stringify!($name),
            disturbs: $crate::conformance::Disturbs::Nothing,
            run: |bench| ::std::boxed::Box::pin($name(bench)),
        }),*]
    };
}
use checks;

/// All checks, in the order of the table.
pub fn all_checks() -> Vec<Check> {
    let together = [
        lifecycle::CHECKS,
        stop::CHECKS,
        spec::CHECKS,
        volumes::CHECKS,
        references::CHECKS,
        ownership::CHECKS,
        logs::CHECKS,
        events::CHECKS,
        pull::CHECKS,
        workloads::CHECKS,
    ];
    let way = faults::CHECKS.iter().map(|check| Check { disturbs: Disturbs::Connection, ..*check });
    let engine = faults::RESTART_CHECKS.iter().map(|check| Check { disturbs: Disturbs::Engine, ..*check });
    together.into_iter().flatten().copied().chain(way).chain(engine).collect()
}

/// Runs every check on `subject` and cleans up after it.
pub async fn run(subject: &dyn Subject) -> Report {
    run_only(subject, |_| true).await
}

/// Runs the checks whose names `wanted` accepts. For debugging; a report for the table needs a complete run.
pub async fn run_only(subject: &dyn Subject, wanted: impl Fn(&str) -> bool) -> Report {
    let prefix = bench::run_prefix();
    let exceptions = subject.exceptions();
    let checks: Vec<(usize, Check)> = all_checks().into_iter().filter(|check| wanted(check.name)).enumerate().collect();
    let run_check = |(number, check): (usize, Check)| {
        let exception = exceptions.iter().find(|(name, _)| *name == check.name).map(|(_, reason)| *reason);
        let prefix = format!("{prefix}-{number:03}");
        async move {
            match exception {
                Some(reason) => (number, Verdict::NotRun(reason.to_owned()), Duration::ZERO),
                None => {
                    let begin = Instant::now();
                    let verdict = run_check(subject, &prefix, check).await;
                    (number, verdict, begin.elapsed())
                }
            }
        }
    };
    let is_alone = |(_, check): &(usize, Check)| match check.disturbs {
        Disturbs::Nothing => false,
        Disturbs::Connection => !subject.disturbs_one_handle_only(),
        Disturbs::Engine => true,
    };
    let (alone, together): (Vec<_>, Vec<_>) = checks.iter().copied().partition(is_alone);
    let mut verdicts: Vec<(usize, Verdict, Duration)> =
        futures_util::stream::iter(together).map(run_check).buffer_unordered(CHECKS_AT_ONCE).collect().await;
    for check in alone {
        verdicts.push(run_check(check).await);
    }
    verdicts.sort_by_key(|(number, ..)| *number);
    let mut report = Report::new(&subject.name());
    for ((_, verdict, took), (_, check)) in verdicts.into_iter().zip(checks) {
        report.add(check.name, verdict, took);
    }
    if let Err(failure) = subject.clean(&prefix).await {
        report.add("the_suite_cleans_up_after_itself", Verdict::Failed(failure.to_string()), Duration::ZERO);
    }
    report
}

async fn run_check(subject: &dyn Subject, prefix: &str, check: Check) -> Verdict {
    let work = async {
        let bench = Bench::new(subject, prefix).await?;
        let outcome = (check.run)(&bench).await;
        let cleared = subject.clear(prefix).await;
        outcome.and(cleared)
    };
    match tokio::time::timeout(CHECK_LIMIT, work).await {
        Ok(Ok(())) => Verdict::Passed,
        Ok(Err(Failure::Failed(text))) => Verdict::Failed(text),
        Ok(Err(Failure::CannotRun(reason))) => Verdict::NotRun(reason),
        Err(_) => Verdict::Failed(format!("took longer than {} s", CHECK_LIMIT.as_secs())),
    }
}
