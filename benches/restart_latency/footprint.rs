//! g: costs of an idle daemon: memory, processor time, threads, sockets, bytes on the wire, and the size of the
//! program.
//!
//! All daemons idle at the same time, which saves time: the values are those of the kernel per process.

use std::time::Duration;

use futures_util::future::join_all;

use crate::daemon::{BINARY, Daemon};
use crate::engine::Engine;
use crate::harness::{Harness, Images};
use crate::process::{Figures, forget_touches};
use crate::proxy::Proxy;
use crate::row::Row;
use crate::sample::Samples;

/// From READY to the first value: the second resync, 20 s after the start, is then over.
const SETTLE: Duration = Duration::from_secs(30);
/// Duration of the idle measurement.
const IDLE: Duration = Duration::from_secs(60);
const MEGABYTE: f64 = 1024.0 * 1024.0;
/// Resyncs per hour: one every five minutes.
const RESYNCS_PER_HOUR: f64 = 12.0;

const OF_THE_KERNEL: &str = "resident memory that is not anonymous is the program file and libraries in the page cache: the \
    kernel maps many pages around each touched page, so nearly the whole program counts after a start. An idle daemon \
    touches little of it (touched in 60 s), and the kernel reclaims the rest when it needs memory";

/// An idle daemon with its values.
struct Idle {
    on: String,
    case: String,
    nodes: usize,
    before: Figures,
    after: Figures,
    polled_bytes: f64,
    resync_bytes: f64,
}

/// Measures 0, 20 and 50 nodes on Docker and 20 on Podman, for the selected engines.
pub async fn run(engines: &[Engine], images: &Images) -> Vec<Row> {
    let wanted = [(Engine::Docker, 0), (Engine::Docker, 20), (Engine::Docker, 50), (Engine::Podman, 20)];
    let mut daemons = Vec::new();
    for (engine, nodes) in wanted.into_iter().filter(|(engine, _)| engines.contains(engine)) {
        let harness = Harness::new(engine, images, nodes).await;
        let mut daemon = Daemon::start(&harness, &[]);
        daemon.ready().await;
        daemons.push((harness, daemon, nodes));
    }
    tokio::time::sleep(SETTLE).await;
    let idle = join_all(daemons.iter().map(|(harness, daemon, nodes)| idle(harness, daemon, *nodes))).await;
    for (harness, daemon, _) in daemons {
        daemon.terminate().await;
        harness.sweep().await;
    }
    idle.into_iter().flat_map(rows).chain([program()]).collect()
}

async fn idle(harness: &Harness, daemon: &Daemon, nodes: usize) -> Idle {
    harness.proxies.iter().for_each(Proxy::clear);
    let before = Figures::of(daemon.pid());
    forget_touches(daemon.pid());
    tokio::time::sleep(IDLE).await;
    let after = Figures::of(daemon.pid());
    let polled_bytes = bytes(harness);
    harness.proxies.iter().for_each(Proxy::clear);
    daemon.resync_now().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let resync_bytes = harness.proxies[1].bytes() as f64;
    let case = format!("{nodes} nodes idle");
    Idle { on: harness.engine.name().to_owned(), case, nodes, before, after, polled_bytes, resync_bytes }
}

fn bytes(harness: &Harness) -> f64 {
    harness.proxies.iter().map(|proxy| proxy.bytes() as f64).sum()
}

fn rows(idle: Idle) -> Vec<Row> {
    let Idle { before, after, .. } = idle;
    let one = |what: &str, value: f64| Samples { what: what.to_owned(), values: vec![value] };
    let row = |what: &str, unit, ours| Row::new('g', &idle.on, &format!("{}: {what}", idle.case), ours).unit(unit);
    let is_judged = idle.nodes == 20;
    let mut memory = row("memory", "MB", one("resident (RSS)", after.rss_kb / 1024.0));
    let mut cpu = row("processor", "s", one("CPU seconds in 60 s", after.cpu_s - before.cpu_s));
    if is_judged {
        memory = memory.at_most(15.0);
    }
    cpu = cpu.at_most(0.1);
    let per_hour = idle.polled_bytes * 3600.0 / IDLE.as_secs_f64() + idle.resync_bytes * RESYNCS_PER_HOUR;
    let wire = row("wire", "kB", one("per idle hour, both ways", per_hour / 1024.0));
    let wire = wire
        .detail(one("of that, one resync", idle.resync_bytes / 1024.0))
        .note("without TLS and without the hourly renewals of sign-in and credentials")
        .note("polls of a minute, times 60, and 12 resyncs");
    vec![
        memory
            .detail(one("proportional (PSS)", after.pss_kb / 1024.0))
            .detail(one("anonymous", after.anonymous_kb / 1024.0))
            .detail(one("touched in 60 s", after.touched_kb / 1024.0))
            .note(OF_THE_KERNEL),
        cpu,
        row("tasks of the kernel", "", one("threads", after.threads)).detail(one("sockets", after.sockets)),
        wire,
    ]
}

fn program() -> Row {
    let size = std::fs::metadata(BINARY).expect("the program is there").len() as f64 / MEGABYTE;
    let size = Samples { what: "stripped release program".to_owned(), values: vec![size] };
    Row::new('g', "program", "size", size).unit("MB").at_most(20.0)
}
