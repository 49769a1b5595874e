//! Checks: events of our own actions and of those of others.

use std::time::Duration;

use futures_util::StreamExt;

use super::bench::{Bench, GRACE, await_event};
use super::outcome::{ensure, ensure_eq};
use super::{Act, Check, Outcome, Program, checks};
use crate::Action;

pub(super) const CHECKS: &[Check] = checks![
    events_report_a_containers_whole_life,
    an_event_has_name_and_time,
    events_report_an_external_kill,
    events_report_an_external_pause_and_unpause,
    events_report_an_external_rename,
    events_report_an_external_removal,
    events_report_an_external_disconnect,
    events_of_strangers_are_not_delivered,
    two_subscribers_both_get_the_events,
];

/// Duration in which no event may arrive.
const SILENCE: Duration = Duration::from_secs(2);

async fn events_report_a_containers_whole_life(bench: &Bench<'_>) -> Outcome {
    let mut events = bench.runtime.events(&bench.owner).await?;
    let id = bench.run_heeding("web").await?;
    await_event(&mut events, &id, Action::Created).await?;
    await_event(&mut events, &id, Action::Started).await?;
    bench.runtime.stop(&id, GRACE).await?;
    await_event(&mut events, &id, Action::Died).await?;
    bench.runtime.start(&id).await?;
    await_event(&mut events, &id, Action::Started).await?;
    bench.runtime.remove(&id).await?;
    await_event(&mut events, &id, Action::Removed).await?;
    Ok(())
}

async fn an_event_has_name_and_time(bench: &Bench<'_>) -> Outcome {
    let id = bench.create("web", Program::Idle).await?;
    let mut events = bench.runtime.events(&bench.owner).await?;
    bench.runtime.start(&id).await?;
    let event = await_event(&mut events, &id, Action::Started).await?;
    ensure_eq!(event.name, bench.name("web"), "name");
    let started = bench.listed(&id).await?.started_at;
    let (Some(at), Some(started)) = (event.at, started) else {
        return Err(super::Failure::new(format!("the event is of {:?}, the start of {started:?}", event.at)));
    };
    ensure!((at - started).abs() < Duration::from_secs(3), "the event is of {at}, the start of {started}");
    Ok(())
}

/// Another user does `act` to a running container; `action` must be reported.
async fn reports_act(bench: &Bench<'_>, act: Act<'_>, action: Action) -> Outcome {
    let id = bench.run("web", Program::Idle).await?;
    let mut events = bench.runtime.events(&bench.owner).await?;
    bench.subject.act(act).await?;
    await_event(&mut events, &id, action).await?;
    Ok(())
}

async fn events_report_an_external_kill(bench: &Bench<'_>) -> Outcome {
    reports_act(bench, Act::Kill(&bench.name("web")), Action::Died).await
}

async fn events_report_an_external_pause_and_unpause(bench: &Bench<'_>) -> Outcome {
    let id = bench.run("web", Program::Idle).await?;
    let mut events = bench.runtime.events(&bench.owner).await?;
    bench.subject.act(Act::Pause(&bench.name("web"))).await?;
    await_event(&mut events, &id, Action::Paused).await?;
    bench.subject.act(Act::Unpause(&bench.name("web"))).await?;
    await_event(&mut events, &id, Action::Unpaused).await?;
    Ok(())
}

async fn events_report_an_external_rename(bench: &Bench<'_>) -> Outcome {
    reports_act(bench, Act::Rename(&bench.name("web"), &bench.name("new")), Action::Renamed).await
}

async fn events_report_an_external_removal(bench: &Bench<'_>) -> Outcome {
    reports_act(bench, Act::Remove(&bench.name("web")), Action::Removed).await
}

async fn events_report_an_external_disconnect(bench: &Bench<'_>) -> Outcome {
    reports_act(bench, Act::Disconnect(&bench.name("web"), &bench.owner.app), Action::Network).await
}

async fn events_of_strangers_are_not_delivered(bench: &Bench<'_>) -> Outcome {
    let mut events = bench.runtime.events(&bench.owner).await?;
    bench.run_stranger("stranger", &Default::default(), &bench.name("other-net")).await?;
    bench.subject.act(Act::Kill(&bench.name("stranger"))).await?;
    let id = bench.create("web", Program::Idle).await?;
    // Ours is the last event; no event of the stranger may come before it or soon after.
    let first = tokio::time::timeout(super::bench::SOON, events.next()).await;
    let Ok(Some(Ok(first))) = first else {
        return Err(super::Failure::new(format!("wanted an event, found {first:?}")));
    };
    ensure_eq!((first.container, first.action), (id.clone(), Action::Created), "first event");
    let search = async {
        while let Some(Ok(event)) = events.next().await {
            if event.container != id {
                return Some(event);
            }
        }
        None
    };
    let strange = tokio::time::timeout(SILENCE, search).await;
    ensure!(strange.is_err(), "wanted silence, found {strange:?}");
    Ok(())
}

async fn two_subscribers_both_get_the_events(bench: &Bench<'_>) -> Outcome {
    let mut one = bench.runtime.events(&bench.owner).await?;
    let mut other = bench.runtime.events(&bench.owner).await?;
    let id = bench.run("web", Program::Idle).await?;
    await_event(&mut one, &id, Action::Started).await?;
    await_event(&mut other, &id, Action::Started).await?;
    Ok(())
}
