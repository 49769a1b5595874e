//! Checks: an engine that stops responding, disappears and returns. They run alone where they would disturb others.

use std::time::Duration;

use futures_util::future::{BoxFuture, try_join_all};
use futures_util::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::bench::{Bench, SOON, await_event, fails_with};
use super::outcome::{ensure, ensure_eq};
use super::{Check, Disturbance, Outcome, Program, Runtime, checks};
use crate::{Action, ContainerId, ErrorKind, Limits, Result as RuntimeResult};

pub(super) const CHECKS: &[Check] = checks![
    a_silent_engine_times_out_every_call,
    a_truncated_response_times_out,
    stop_has_its_grace_and_then_times_out,
    a_handle_works_again_after_a_stall,
    an_absent_engine_is_unreachable,
    events_can_be_resubscribed_after_an_outage_of_the_engine,
    logs_can_be_reopened_after_an_outage_of_the_engine,
    containers_survive_an_outage_of_the_engine,
];

/// These restart the engine, which affects all checks.
pub(super) const RESTART_CHECKS: &[Check] = checks![after_an_engine_restart_a_handle_lists_and_gets_events];

/// Limits that a check can wait for, and that an engine meets even on a busy machine.
const LIMITS: Limits = Limits {
    call: Duration::from_secs(4),
    stop_margin: Duration::from_secs(2),
    pull_silence: Duration::from_secs(2),
    pull_total: Duration::from_secs(4),
};
/// Time that a call may take beyond its limit on a busy machine.
const LATE: Duration = Duration::from_secs(20);
/// Truncates any list.
const SOME_BYTES: usize = 300;

async fn times_out<T: Send>(
    what: &str,
    limit: Duration,
    call: impl Future<Output = RuntimeResult<T>> + Send,
) -> Outcome {
    let begin = Instant::now();
    let Ok(result) = tokio::time::timeout(limit + LATE, call).await else {
        return Err(super::Failure::new(format!("{what} did not end {LATE:?} after its limit of {limit:?}")));
    };
    fails_with(result, ErrorKind::TimedOut, what)?;
    ensure!(begin.elapsed() >= limit / 2, "{what} gave up after {:?}, its limit is {limit:?}", begin.elapsed());
    Ok(())
}

/// A running container and a handle with a connection that can be disturbed.
async fn disturbed(bench: &Bench<'_>) -> Outcome<(ContainerId, Runtime, Box<dyn Disturbance>)> {
    let id = bench.run("web", Program::Ticks).await?;
    let (runtime, way) = bench.subject.connect_disturbed(LIMITS).await?;
    ensure_eq!(runtime.list(&bench.owner).await?.len(), 1, "number of containers before");
    Ok((id, runtime, way))
}

async fn a_silent_engine_times_out_every_call(bench: &Bench<'_>) -> Outcome {
    let (id, runtime, way) = disturbed(bench).await?;
    way.stall(None);
    let (owner, name) = (&bench.owner, bench.name("new"));
    let spec = bench.spec("second", Program::Idle);
    let image_id = crate::ImageId(format!("sha256:{}", "0".repeat(64)));
    let call = LIMITS.call;
    // Concurrently, so that the waits overlap.
    let calls: Vec<BoxFuture<'_, Outcome>> = vec![
        times_out("info", call, runtime.info()).boxed(),
        times_out("host", call, runtime.host()).boxed(),
        times_out("list", call, runtime.list(owner)).boxed(),
        times_out("ensure_network", call, runtime.ensure_network(&owner.app, owner)).boxed(),
        times_out("image", call, runtime.image(&bench.image)).boxed(),
        times_out("image_architecture", call, runtime.image_architecture(&bench.image)).boxed(),
        times_out("remove_image", call, runtime.remove_image(&image_id)).boxed(),
        times_out("create", call, runtime.create(&spec)).boxed(),
        times_out("start", call, runtime.start(&id)).boxed(),
        times_out("rename", call, runtime.rename(&id, &name)).boxed(),
        times_out("logs", call, async { runtime.logs(&id, None).await.map(|_| ()) }).boxed(),
        times_out("events", call, async { runtime.events(owner).await.map(|_| ()) }).boxed(),
        times_out("remove", call, runtime.remove(&id)).boxed(),
    ];
    try_join_all(calls).await?;
    way.resume();
    Ok(())
}

async fn a_truncated_response_times_out(bench: &Bench<'_>) -> Outcome {
    let (_, runtime, way) = disturbed(bench).await?;
    way.stall(Some(SOME_BYTES));
    times_out("list", LIMITS.call, runtime.list(&bench.owner)).await?;
    way.resume();
    Ok(())
}

async fn stop_has_its_grace_and_then_times_out(bench: &Bench<'_>) -> Outcome {
    let (id, runtime, way) = disturbed(bench).await?;
    way.stall(None);
    let grace = Duration::from_secs(3);
    let limit = grace + LIMITS.stop_margin;
    let begin = Instant::now();
    let stop = tokio::time::timeout(limit + LATE, runtime.stop(&id, grace)).await;
    let Ok(stop) = stop else {
        return Err(super::Failure::new(format!("stop did not end {LATE:?} after its limit of {limit:?}")));
    };
    fails_with(stop, ErrorKind::TimedOut, "stop")?;
    ensure!(begin.elapsed() >= LIMITS.call, "stop gave up after {:?}", begin.elapsed());
    way.resume();
    Ok(())
}

async fn a_handle_works_again_after_a_stall(bench: &Bench<'_>) -> Outcome {
    let (_, runtime, way) = disturbed(bench).await?;
    way.stall(None);
    times_out("list", LIMITS.call, runtime.list(&bench.owner)).await?;
    way.resume();
    ensure_eq!(runtime.list(&bench.owner).await?.len(), 1, "number of containers after");
    Ok(())
}

async fn an_absent_engine_is_unreachable(bench: &Bench<'_>) -> Outcome {
    let (id, runtime, way) = disturbed(bench).await?;
    way.take_away().await?;
    let unreachable = ErrorKind::Unreachable;
    fails_with(runtime.info().await, unreachable, "info")?;
    fails_with(runtime.list(&bench.owner).await, unreachable, "list")?;
    fails_with(runtime.start(&id).await, unreachable, "start")?;
    fails_with(runtime.create(&bench.spec("second", Program::Idle)).await, unreachable, "create")?;
    fails_with(runtime.events(&bench.owner).await.map(|_| ()), unreachable, "events")?;
    way.bring_back().await
}

async fn events_can_be_resubscribed_after_an_outage_of_the_engine(bench: &Bench<'_>) -> Outcome {
    let (id, runtime, way) = disturbed(bench).await?;
    let mut events = runtime.events(&bench.owner).await?;
    way.take_away().await?;
    way.bring_back().await?;
    // The contract allows the old stream to end, to fail, or to fall silent, but not to panic or to spin.
    let old = tokio::time::timeout(Duration::from_secs(1), events.next()).await;
    ensure!(!matches!(old, Ok(Some(Ok(_)))), "the old stream brought {old:?}");
    if let Ok(Some(Err(_))) = old {
        let after = tokio::time::timeout(Duration::from_secs(1), events.next()).await;
        ensure!(matches!(after, Ok(None)), "after its error the stream brought {after:?}");
    }
    let mut again = runtime.events(&bench.owner).await?;
    bench.runtime.restart(&id, super::bench::GRACE).await?;
    await_event(&mut again, &id, Action::Started).await?;
    Ok(())
}

async fn logs_can_be_reopened_after_an_outage_of_the_engine(bench: &Bench<'_>) -> Outcome {
    let (id, runtime, way) = disturbed(bench).await?;
    let mut logs = runtime.logs(&id, None).await?;
    // A backend may connect with the first poll.
    let first = tokio::time::timeout(SOON, logs.next()).await;
    ensure!(matches!(first, Ok(Some(Ok(_)))), "the stream brought {first:?}");
    way.take_away().await?;
    way.bring_back().await?;
    let back = time::OffsetDateTime::now_utc();
    let drain = async {
        while let Some(Ok(chunk)) = logs.next().await {
            if chunk.at > back {
                break;
            }
        }
    };
    ensure!(tokio::time::timeout(SOON, drain).await.is_ok(), "the old stream stayed open and brought no more");
    let mut again = runtime.logs(&id, None).await?;
    let first = tokio::time::timeout(SOON, again.next()).await;
    ensure!(matches!(first, Ok(Some(Ok(_)))), "a new stream brought {first:?}");
    Ok(())
}

async fn containers_survive_an_outage_of_the_engine(bench: &Bench<'_>) -> Outcome {
    let (_, runtime, way) = disturbed(bench).await?;
    let before = bench.seen("web").await?;
    way.take_away().await?;
    way.bring_back().await?;
    ensure_eq!(runtime.list(&bench.owner).await?.len(), 1, "number of containers after");
    ensure_eq!(bench.seen("web").await?, before, "the container");
    Ok(())
}

/// The checks above interrupt the connection to the engine; this one restarts the engine itself.
async fn after_an_engine_restart_a_handle_lists_and_gets_events(bench: &Bench<'_>) -> Outcome {
    let id = bench.run_heeding("web").await?;
    let mut events = bench.runtime.events(&bench.owner).await?;
    bench.subject.restart_engine().await?;
    let drain = async { while let Some(Ok(_)) = events.next().await {} };
    ensure!(tokio::time::timeout(SOON, drain).await.is_ok(), "the stream of an engine that ended stayed open");
    ensure_eq!(bench.listed(&id).await?.id, id, "the container");
    let mut again = bench.runtime.events(&bench.owner).await?;
    bench.runtime.restart(&id, super::bench::GRACE).await?;
    await_event(&mut again, &id, Action::Started).await?;
    ensure!(bench.seen("web").await?.is_running, "it does not run");
    Ok(())
}
