//! Every state that a crash during a replacement, a rollback or an overlap can leave leads to exactly one running
//! container with the desired spec, and no old container is removed before it has run.

use std::collections::HashMap;
use std::sync::Arc;

use managed_app_runtimes::labels::SpecRecord;
use managed_app_runtimes::{ContainerId, ContainerState, ImageId, Instance, Origin, Revision};

use super::world::{World, name, settings};
use crate::reconciler::*;

/// More steps than any plan needs.
const STEPS_MAX: usize = 6;

fn desired(can_overlap: bool) -> Desired {
    let app = World::new(&["a"]).app;
    let settings = Settings { overlap: can_overlap, ..settings() };
    settings.desired(&app, &app.nodes[&name("a")], &AppInputs::of(&app)).expect("a good node")
}

fn container(desired: &Desired, id: &str, its_name: String, state: ContainerState) -> Instance {
    let is_old = id == "old";
    let spec = &desired.target.spec;
    let mut made_of = (**spec).clone();
    if is_old {
        made_of.hostname = "as-before".to_owned();
    }
    Instance {
        id: ContainerId(id.to_owned()),
        node: "a".to_owned(),
        name: its_name,
        image_id: ImageId("sha256:1".to_owned()),
        state,
        origin: Origin::Labelled,
        networks: vec![spec.network.clone()],
        record: Some(Arc::new(SpecRecord::new(&made_of, "salt"))),
        revision: (!is_old).then(|| desired.target.revision.clone()),
        started_at: None,
        restarts: None,
        last_exit: None,
    }
}

/// Applies one operation. `stays_up`: whether new containers do.
fn apply(operation: Operation, desired: &Desired, containers: &mut Vec<Instance>, stays_up: bool) {
    let mut at: HashMap<ContainerId, Instance> = containers.drain(..).map(|c| (c.id.clone(), c)).collect();
    match operation {
        Operation::Start { id, .. } | Operation::Restart { id, .. } => {
            let found = at.get_mut(&id).expect("it is there");
            found.state = ContainerState::Running;
            found.revision = Some(desired.target.revision.clone());
        }
        Operation::Create(_) => {
            let made = container(desired, "next", desired.target.spec.name.clone(), ContainerState::Running);
            at.insert(made.id.clone(), made);
        }
        Operation::Remove(ids) => ids.iter().for_each(|id| drop(at.remove(id))),
        Operation::Replace { .. } if stays_up => {
            let next = ContainerId("next".to_owned());
            let made = container(desired, "next", desired.target.spec.name.clone(), ContainerState::Running);
            let revision =
                at.get(&next).filter(|next| next.may_run()).map_or(made.revision.clone(), |n| n.revision.clone());
            at.clear();
            at.insert(next, Instance { revision, ..made });
        }
        Operation::Replace { .. } => {
            at.remove(&ContainerId("next".to_owned()));
            at.values_mut().for_each(|old| old.state = ContainerState::Running);
        }
        Operation::Stop(_) => panic!("nothing is to end here"),
    }
    containers.extend(at.into_values());
}

/// All states of up to one old and one new container, with the names they can have.
fn leftovers(desired: &Desired) -> Vec<Vec<Instance>> {
    let exited = || ContainerState::Exited { code: Some(1) };
    let states = [ContainerState::Created, ContainerState::Running, ContainerState::Restarting, exited()];
    let proper = desired.target.spec.name.clone();
    let mut all = vec![vec![]];
    for old in states.iter().map(Some).chain([None]) {
        for next in states.iter().map(Some).chain([None]) {
            for next_name in [format!("{proper}.next"), format!("{proper}.next-0123abcd"), proper.clone()] {
                if old.is_some() && next_name == proper {
                    continue;
                }
                let old = old.map(|state| container(desired, "old", proper.clone(), state.clone()));
                let next = next.map(|state| container(desired, "next", next_name, state.clone()));
                all.push(old.into_iter().chain(next).collect());
            }
        }
    }
    all
}

#[test]
fn every_leftover_of_a_replacement_is_finished() {
    for can_overlap in [false, true] {
        let desired = desired(can_overlap);
        let image = ImageId("sha256:1".to_owned());
        for before in leftovers(&desired) {
            let mut containers = before.clone();
            let mut steps = 0;
            while let Plan::Do(operation, _) = plan(Some(&desired), ImageView::Present(&image), &containers) {
                assert!(!matches!(operation, Operation::Remove(_)), "old ones go only with a right one: {before:?}");
                apply(operation, &desired, &mut containers, true);
                steps += 1;
                assert!(steps <= STEPS_MAX, "no convergence from {before:?}");
            }
            let [only] = &containers[..] else { panic!("{before:?} leads to {containers:?}") };
            assert_eq!((only.id.0.as_str(), &only.name), ("next", &desired.target.spec.name), "{before:?}");
            assert!(only.state.is_running() && only.revision.as_ref() == Some(&desired.target.revision));
        }
    }
}

#[test]
fn every_leftover_of_a_failed_rollout_keeps_the_old_container() {
    let desired = desired(false);
    let image = ImageId("sha256:1".to_owned());
    let with_old = leftovers(&desired).into_iter().filter(|all| all.iter().any(|container| container.id.0 == "old"));
    for before in with_old {
        let mut containers = before.clone();
        let mut view = ImageView::Present(&image);
        let mut steps = 0;
        while let Plan::Do(operation, _) = plan(Some(&desired), view, &containers) {
            let is_rollout = matches!(operation, Operation::Replace { .. });
            assert!(!(is_rollout && view == ImageView::Quarantined(&image)), "it is not tried again");
            apply(operation, &desired, &mut containers, false);
            if is_rollout {
                view = ImageView::Quarantined(&image);
            }
            steps += 1;
            assert!(steps <= STEPS_MAX, "no convergence from {before:?}");
        }
        let [only] = &containers[..] else { panic!("{before:?} leads to {containers:?}") };
        assert!(only.id.0 == "old" && only.state.is_running(), "{before:?} leads to {only:?}");
    }
}

#[test]
fn quarantined_leftover_is_removed_without_a_start() {
    let desired = desired(false);
    let image = ImageId("sha256:1".to_owned());
    for before in leftovers(&desired).into_iter().filter(|all| all.len() == 2) {
        let mut containers = before;
        while let Plan::Do(operation, _) = plan(Some(&desired), ImageView::Quarantined(&image), &containers) {
            assert!(!matches!(operation, Operation::Replace { .. }));
            apply(operation, &desired, &mut containers, false);
        }
        let [only] = &containers[..] else { panic!("{containers:?}") };
        assert!(only.id.0 == "old" && only.state.is_running());
    }
}

#[test]
fn two_running_containers_restart_only_without_a_current_one() {
    let desired = desired(false);
    let current = Some(desired.target.revision.clone());
    // Both have an earlier spec, and the desired image is unavailable.
    let check = |revisions: [Option<Revision>; 2], restarted: Option<&str>| {
        let mut both = ["old", "next"].map(|name| container(&desired, "old", name.to_owned(), ContainerState::Running));
        both[1].id = ContainerId("next".to_owned());
        for (container, revision) in both.iter_mut().zip(revisions) {
            container.revision = revision;
        }
        both[0].name = desired.target.spec.name.clone();
        match plan(Some(&desired), ImageView::Missing, &both) {
            Plan::Wait => assert_eq!(restarted, None),
            Plan::Do(Operation::Restart { id, .. }, _) => assert_eq!(Some(id.0.as_str()), restarted),
            other => panic!("{other:?}"),
        }
    };
    check([None, None], Some("old"));
    check([None, current.clone()], None);
    check([current, None], None);
}
