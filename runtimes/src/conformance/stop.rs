//! Checks: stop and restart, and how long they take.

use std::time::Duration;

use tokio::time::Instant;

use super::bench::{Bench, GRACE};
use super::outcome::{ensure, ensure_eq};
use super::{Act, Check, Outcome, Program, checks};
use crate::ContainerState;

pub(super) const CHECKS: &[Check] = checks![
    stop_ends_the_process,
    stop_of_a_cooperative_process_does_not_wait_for_the_grace,
    stop_kills_a_stubborn_process_after_the_grace,
    stop_without_grace_kills_at_once,
    stop_of_a_stopped_container_is_ok,
    stop_of_a_container_never_started_is_ok,
    stop_of_a_paused_container_stops_it,
    a_stopped_container_stays_stopped,
    restart_starts_a_new_process_and_keeps_id_and_name,
    restart_of_a_stopped_container_starts_it,
    restart_of_a_paused_container_starts_a_new_process,
    restart_gives_a_stubborn_process_its_grace,
    restart_of_a_cooperative_process_does_not_wait_for_the_grace,
];

/// Grace of a process that ignores the stop signal.
const SHORT: Duration = Duration::from_secs(2);
/// A grace that no check waits for.
const LONG: Duration = Duration::from_secs(60);
/// Additional time of engines on a busy machine.
const MARGIN: Duration = Duration::from_secs(20);

async fn stop_ends_the_process(bench: &Bench<'_>) -> Outcome {
    let id = bench.run_heeding("web").await?;
    bench.runtime.stop(&id, GRACE).await?;
    ensure!(!bench.seen("web").await?.is_running, "it still runs");
    ensure_eq!(bench.listed(&id).await?.state, ContainerState::Exited { code: Some(0) }, "listed state");
    Ok(())
}

async fn stop_of_a_cooperative_process_does_not_wait_for_the_grace(bench: &Bench<'_>) -> Outcome {
    let id = bench.run_heeding("web").await?;
    let begin = Instant::now();
    bench.runtime.stop(&id, LONG).await?;
    ensure!(begin.elapsed() < MARGIN, "it took {:?}", begin.elapsed());
    Ok(())
}

async fn stop_kills_a_stubborn_process_after_the_grace(bench: &Bench<'_>) -> Outcome {
    let id = bench.run("web", Program::Stubborn).await?;
    let begin = Instant::now();
    bench.runtime.stop(&id, SHORT).await?;
    let took = begin.elapsed();
    ensure!(took >= SHORT && took < SHORT + MARGIN, "a grace of {SHORT:?} took {took:?}");
    ensure_eq!(bench.listed(&id).await?.state, ContainerState::Exited { code: Some(137) }, "listed state");
    Ok(())
}

async fn stop_without_grace_kills_at_once(bench: &Bench<'_>) -> Outcome {
    let id = bench.run("web", Program::Stubborn).await?;
    let begin = Instant::now();
    bench.runtime.stop(&id, Duration::ZERO).await?;
    ensure!(begin.elapsed() < MARGIN, "it took {:?}", begin.elapsed());
    ensure!(!bench.seen("web").await?.is_running, "it still runs");
    Ok(())
}

async fn stop_of_a_stopped_container_is_ok(bench: &Bench<'_>) -> Outcome {
    let id = bench.run_heeding("web").await?;
    bench.runtime.stop(&id, GRACE).await?;
    let before = bench.seen("web").await?;
    bench.runtime.stop(&id, GRACE).await?;
    ensure_eq!(bench.seen("web").await?, before, "the container");
    Ok(())
}

async fn stop_of_a_container_never_started_is_ok(bench: &Bench<'_>) -> Outcome {
    let id = bench.create("web", Program::Idle).await?;
    bench.runtime.stop(&id, GRACE).await?;
    ensure!(!bench.seen("web").await?.is_running, "it runs");
    Ok(())
}

async fn stop_of_a_paused_container_stops_it(bench: &Bench<'_>) -> Outcome {
    let id = bench.run_heeding("web").await?;
    bench.subject.act(Act::Pause(&bench.name("web"))).await?;
    bench.runtime.stop(&id, SHORT).await?;
    ensure!(!bench.seen("web").await?.is_running, "it still has a process");
    let state = bench.listed(&id).await?.state;
    ensure!(matches!(state, ContainerState::Exited { .. }), "it is listed as {state:?}");
    Ok(())
}

async fn a_stopped_container_stays_stopped(bench: &Bench<'_>) -> Outcome {
    let id = bench.run_heeding("web").await?;
    bench.runtime.stop(&id, GRACE).await?;
    // Longer than the pause before an engine's restart policy acts.
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(!bench.seen("web").await?.is_running, "the engine started it again");
    Ok(())
}

async fn restart_starts_a_new_process_and_keeps_id_and_name(bench: &Bench<'_>) -> Outcome {
    let id = bench.run_heeding("web").await?;
    let before = (bench.seen("web").await?, bench.listed(&id).await?);
    bench.runtime.restart(&id, GRACE).await?;
    let after = (bench.seen("web").await?, bench.listed(&id).await?);
    ensure!(after.0.is_running, "it does not run");
    ensure_eq!(after.0.id, before.0.id, "id");
    ensure!(after.0.started != before.0.started, "it was not started again");
    ensure!(after.1.started_at > before.1.started_at, "the listed start time did not move: {:?}", after.1.started_at);
    Ok(())
}

async fn restart_of_a_stopped_container_starts_it(bench: &Bench<'_>) -> Outcome {
    let id = bench.create("web", Program::Idle).await?;
    bench.runtime.restart(&id, GRACE).await?;
    ensure!(bench.seen("web").await?.is_running, "one never started does not run");
    bench.runtime.stop(&id, GRACE).await?;
    bench.runtime.restart(&id, GRACE).await?;
    ensure!(bench.seen("web").await?.is_running, "one that was stopped does not run");
    Ok(())
}

async fn restart_of_a_paused_container_starts_a_new_process(bench: &Bench<'_>) -> Outcome {
    let id = bench.run_heeding("web").await?;
    let before = bench.seen("web").await?;
    bench.subject.act(Act::Pause(&bench.name("web"))).await?;
    bench.runtime.restart(&id, SHORT).await?;
    ensure_eq!(bench.listed(&id).await?.state, ContainerState::Running, "listed state");
    ensure!(bench.seen("web").await?.started != before.started, "it was not started again");
    Ok(())
}

async fn restart_gives_a_stubborn_process_its_grace(bench: &Bench<'_>) -> Outcome {
    let id = bench.run("web", Program::Stubborn).await?;
    let begin = Instant::now();
    bench.runtime.restart(&id, SHORT).await?;
    let took = begin.elapsed();
    ensure!(took >= SHORT && took < SHORT + MARGIN, "a grace of {SHORT:?} took {took:?}");
    ensure!(bench.seen("web").await?.is_running, "it does not run");
    // The cleanup would wait for its own grace.
    bench.runtime.remove(&id).await?;
    Ok(())
}

async fn restart_of_a_cooperative_process_does_not_wait_for_the_grace(bench: &Bench<'_>) -> Outcome {
    let id = bench.run_heeding("web").await?;
    let begin = Instant::now();
    bench.runtime.restart(&id, LONG).await?;
    ensure!(begin.elapsed() < MARGIN, "it took {:?}", begin.elapsed());
    Ok(())
}
