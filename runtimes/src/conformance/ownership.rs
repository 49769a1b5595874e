//! Checks: ownership of containers and networks.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;

use super::bench::Bench;
use super::outcome::{ensure, ensure_eq};
use super::{Act, Check, Outcome, Program, checks};
use crate::{Origin, Owner, labels};

pub(super) const CHECKS: &[Check] = checks![
    the_list_contains_containers_in_any_state,
    the_list_excludes_strangers,
    the_list_excludes_other_apps_tenants_and_hosts,
    the_list_contains_legacy_containers_on_the_apps_network,
    the_list_excludes_legacy_containers_of_other_apps,
    strangers_stay_untouched,
    ensure_network_creates_a_network_with_the_owners_labels,
    ensure_network_twice_leaves_one_network,
    concurrent_ensure_network_calls_leave_one_network,
    ensure_network_does_not_change_a_strangers_network,
];

fn legacy_labels() -> BTreeMap<String, String> {
    BTreeMap::from([(labels::MANAGED_NODE_TYPE.to_owned(), "a type".to_owned())])
}

async fn listed_names(bench: &Bench<'_>) -> Outcome<Vec<(String, Origin)>> {
    let listed = bench.runtime.list(&bench.owner).await?;
    let mut names: Vec<_> = listed.into_iter().map(|container| (container.name, container.origin)).collect();
    names.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(names)
}

async fn the_list_contains_containers_in_any_state(bench: &Bench<'_>) -> Outcome {
    bench.create("created", Program::Idle).await?;
    bench.run("running", Program::Idle).await?;
    bench.run("paused", Program::Idle).await?;
    bench.subject.act(Act::Pause(&bench.name("paused"))).await?;
    bench.run("killed", Program::Idle).await?;
    bench.subject.act(Act::Kill(&bench.name("killed"))).await?;
    let names = ["created", "killed", "paused", "running"].map(|suffix| (bench.name(suffix), Origin::Labelled));
    ensure_eq!(listed_names(bench).await?, names, "the list");
    Ok(())
}

async fn the_list_excludes_strangers(bench: &Bench<'_>) -> Outcome {
    bench.run_stranger("plain", &BTreeMap::new(), &bench.owner.app).await?;
    let labels = BTreeMap::from([(labels::APP.to_owned(), bench.owner.app.clone())]);
    bench.run_stranger("app-label-only", &labels, &bench.owner.app).await?;
    ensure_eq!(listed_names(bench).await?, Vec::new(), "the list");
    Ok(())
}

async fn the_list_excludes_other_apps_tenants_and_hosts(bench: &Bench<'_>) -> Outcome {
    let ours = &bench.owner;
    let others = [
        Owner { app: format!("{}x", ours.app), ..ours.clone() },
        Owner { tenant: format!("{}x", ours.tenant), ..ours.clone() },
        Owner { host: format!("{}x", ours.host), ..ours.clone() },
    ];
    for (number, other) in others.iter().enumerate() {
        let mut spec = bench.spec(&format!("other{number}"), Program::Idle);
        spec.labels = other.labels();
        bench.runtime.create(&spec).await?;
        ensure_eq!(bench.runtime.list(other).await?.len(), 1, "list of the other owner");
    }
    ensure_eq!(listed_names(bench).await?, Vec::new(), "our list");
    Ok(())
}

async fn the_list_contains_legacy_containers_on_the_apps_network(bench: &Bench<'_>) -> Outcome {
    bench.run_stranger("legacy", &legacy_labels(), &bench.owner.app).await?;
    bench.create("ours", Program::Idle).await?;
    let names = [(bench.name("legacy"), Origin::Legacy), (bench.name("ours"), Origin::Labelled)];
    ensure_eq!(listed_names(bench).await?, names, "the list");
    Ok(())
}

async fn the_list_excludes_legacy_containers_of_other_apps(bench: &Bench<'_>) -> Outcome {
    bench.run_stranger("elsewhere", &legacy_labels(), &bench.name("other-net")).await?;
    let mut both = legacy_labels();
    both.extend(Owner { host: "another".to_owned(), ..bench.owner.clone() }.labels());
    bench.run_stranger("other-host", &both, &bench.owner.app).await?;
    ensure_eq!(listed_names(bench).await?, Vec::new(), "the list");
    Ok(())
}

async fn strangers_stay_untouched(bench: &Bench<'_>) -> Outcome {
    bench.run_stranger("stranger", &BTreeMap::new(), &bench.owner.app).await?;
    let before = bench.seen("stranger").await?;
    let id = bench.run_heeding("ours").await?;
    bench.runtime.restart(&id, super::bench::GRACE).await?;
    bench.runtime.stop(&id, super::bench::GRACE).await?;
    bench.runtime.remove(&id).await?;
    bench.runtime.ensure_network(&bench.owner.app, &bench.owner).await?;
    ensure_eq!(bench.seen("stranger").await?, before, "the stranger's container");
    Ok(())
}

async fn ensure_network_creates_a_network_with_the_owners_labels(bench: &Bench<'_>) -> Outcome {
    let found = bench.subject.network_labels(&bench.owner.app).await?;
    ensure_eq!(found.len(), 1, "number of networks");
    for (key, value) in bench.owner.labels() {
        ensure_eq!(found[0].get(&key), Some(&value), format!("label {key} of the network"));
    }
    Ok(())
}

async fn ensure_network_twice_leaves_one_network(bench: &Bench<'_>) -> Outcome {
    bench.run("web", Program::Idle).await?;
    bench.runtime.ensure_network(&bench.owner.app, &bench.owner).await?;
    ensure_eq!(bench.subject.network_labels(&bench.owner.app).await?.len(), 1, "number of networks");
    ensure!(bench.seen("web").await?.networks.contains(&bench.owner.app), "the container lost its network");
    Ok(())
}

async fn concurrent_ensure_network_calls_leave_one_network(bench: &Bench<'_>) -> Outcome {
    let name = bench.name("contended");
    try_join_all((0..8).map(|_| bench.runtime.ensure_network(&name, &bench.owner))).await?;
    ensure_eq!(bench.subject.network_labels(&name).await?.len(), 1, "number of networks");
    Ok(())
}

async fn ensure_network_does_not_change_a_strangers_network(bench: &Bench<'_>) -> Outcome {
    let name = bench.name("theirs");
    bench.subject.act(Act::MakeNetwork(&name)).await?;
    let before = bench.subject.network_labels(&name).await?;
    bench.runtime.ensure_network(&name, &bench.owner).await?;
    ensure_eq!(bench.subject.network_labels(&name).await?, before, "the network");
    Ok(())
}
