//! External actions on the host: on our containers, images and network, and with foreign containers.

use std::collections::BTreeMap;
use std::time::Duration;

use managed_app::model::NodeName;
use managed_app_runtimes::{Action, ContainerId, ContainerState, ImageId, Origin, labels, next_name};

use crate::cloud::NAMES;
use crate::engine::Kept;
use crate::fault_plan::Class;
use crate::user::{PORTS, port};
use crate::world::{Occurrence, World};

impl World {
    /// An external action, if the fault plan has its class.
    pub fn external_action(&mut self) {
        match self.prng.below(4) {
            0 if self.fault_plan.has(Class::Strangers) => self.add_stranger(),
            1 if self.fault_plan.has(Class::Dying) => self.process_dies(),
            _ if self.fault_plan.has(Class::Meddling) => self.meddle(),
            _ => {}
        }
    }

    fn add_stranger(&mut self) {
        let name = *self.prng.pick(&NAMES);
        let name = match self.prng.below(3) {
            0 => name.to_owned(),
            1 => next_name(name),
            _ => format!("stranger{}", self.engine.created),
        };
        if self.engine.containers.iter().all(|kept| kept.container.name != name) {
            self.log_line(|| format!("a foreign container takes the name {name}"));
            let id = self.add(&name, None, BTreeMap::new(), ImageId("other".to_owned()), "bridge", Origin::Labelled);
            if self.prng.chance(50) {
                let ports = vec![port(self.prng.below(PORTS))];
                self.engine.get(&id).expect("it was just created").ports = ports;
            }
            let _ = self.start(&id, true);
        }
    }

    /// Removes foreign containers with names or ports of nodes at the end of a fault phase.
    pub fn remove_strangers(&mut self) {
        let is_ours = |name: &str| NAMES.iter().any(|node| name == *node || name == next_name(node));
        let is_in_the_way = |kept: &Kept| is_ours(&kept.container.name) || !kept.ports.is_empty();
        self.engine.containers.retain(|kept| kept.node.is_some() || !is_in_the_way(kept));
    }

    fn any_of_ours(&mut self) -> Option<(ContainerId, NodeName)> {
        let ours: Vec<(ContainerId, NodeName)> = self
            .engine
            .containers
            .iter()
            .filter_map(|kept| Some((kept.container.id.clone(), kept.node.clone()?)))
            .collect();
        (!ours.is_empty()).then(|| ours[self.prng.below(ours.len())].clone())
    }

    fn process_dies(&mut self) {
        let Some((id, node)) = self.any_of_ours() else { return };
        let kept = self.engine.get(&id).expect("it was just picked");
        if kept.container.state == ContainerState::Running {
            kept.container.state = ContainerState::Restarting;
            // A new container whose process ends is rolled back.
            self.invariants.allow(&node, 2);
            self.log_line(|| format!("the process of {id} ends"));
            self.emit_event(&id, Action::Died);
            let delay = self.prng.ms(100, 20_000);
            self.after(delay, Occurrence::RestartProcess(id));
        }
    }

    /// The restart policy of the engine starts a process again, unless the container changed meanwhile.
    pub fn restart_process(&mut self, id: &ContainerId) {
        let newest = self.cloud.newest();
        if self.engine.get(id).is_some_and(|kept| kept.container.state == ContainerState::Restarting) {
            self.run(id, newest);
            self.emit_event(id, Action::Started);
        }
    }

    fn meddle(&mut self) {
        let Some((id, node)) = self.any_of_ours() else { return };
        self.invariants.allow(&node, 2);
        let what = self.prng.below(11);
        self.log_line(|| format!("external change of {id} of {node}: {what}"));
        match what {
            0 => self.delete_externally(&id),
            1 => self.set_state(&id, ContainerState::Removing, Action::Other),
            2 | 3 => self.set_state(&id, ContainerState::Exited { code: Some(1) }, Action::Died),
            4 => {
                let _ = self.start(&id, true);
            }
            5 => self.pause(&id),
            // A container of the Python program has its node only in its name.
            6 if self.engine.get(&id).is_some_and(|kept| kept.container.origin == Origin::Labelled) => {
                let _ = self.rename(&id, &format!("renamed{}", self.engine.created));
            }
            7 if self.fault_plan.has(Class::Disconnects)
                && self.engine.get(&id).is_some_and(|kept| kept.container.state == ContainerState::Running) =>
            {
                self.engine.get(&id).expect("it was just picked").container.networks.clear();
                self.emit_event(&id, Action::Network);
            }
            8 => self.engine.images.clear(),
            9 => self.engine.get(&id).expect("it was just picked").is_lost = true,
            _ => self.remove_network(),
        }
        if what == 1 {
            self.after(Duration::from_secs(2), Occurrence::RemovalComplete(id));
        }
    }

    fn set_state(&mut self, id: &ContainerId, state: ContainerState, action: Action) {
        let kept = self.engine.get(id).expect("it was just picked");
        kept.container.state = state;
        self.emit_event(id, action);
    }

    fn pause(&mut self, id: &ContainerId) {
        let state = &mut self.engine.get(id).expect("it was just picked").container.state;
        let (next, action) = match state {
            ContainerState::Running => (ContainerState::Paused, Action::Paused),
            ContainerState::Paused => (ContainerState::Running, Action::Unpaused),
            _ => return,
        };
        self.set_state(id, next, action);
        if let Some(kept) = self.engine.get(id) {
            kept.is_foreign_start = true;
        }
    }

    /// Removes the networks without running containers; engines refuse the removal of others.
    fn remove_network(&mut self) {
        let uses = |kept: &Kept, name: &String| kept.is_up() && kept.container.networks.contains(name);
        let is_used = |name: &String| self.engine.containers.iter().any(|kept| uses(kept, name));
        let unused: Vec<String> = self.engine.networks.iter().filter(|name| !is_used(name)).cloned().collect();
        unused.iter().for_each(|name| {
            self.engine.networks.remove(name);
        });
    }

    /// All calls fail for a while; processes keep running, or restart, or stay down.
    pub fn engine_restarts(&mut self) {
        let how = self.prng.below(3);
        self.log_line(|| {
            format!("the engine restarts, {}", ["nodes keep running", "nodes restart", "nodes stay down"][how])
        });
        self.engine.is_down = true;
        let newest = self.cloud.newest();
        let mut restarted = Vec::new();
        for kept in &mut self.engine.containers {
            let is_up = kept.container.state == ContainerState::Running;
            kept.busy_until = self.now;
            match how {
                1 if is_up => {
                    // A new container in its window is rolled back.
                    kept.node.iter().for_each(|node| self.invariants.allow(node, 2));
                    restarted.push(kept.id());
                }
                2 if is_up => kept.container.state = ContainerState::Exited { code: Some(255) },
                _ => {}
            }
        }
        restarted.iter().for_each(|id| self.run(id, newest));
        self.cancel(|what| matches!(what, Occurrence::Engine(_)));
        let delay = self.prng.ms(200, 30_000);
        self.after(delay, Occurrence::EngineUp);
    }

    /// Adds containers of the Python program for some nodes.
    pub fn add_python_containers(&mut self) {
        let Some(app) = self.cloud.truth().cloned() else { return };
        for node in app.nodes.values() {
            if self.prng.chance(50) {
                let all = BTreeMap::from([(labels::MANAGED_NODE_TYPE.to_owned(), node.node_type.name.clone())]);
                let image = ImageId("old".to_owned());
                let id = self.add(node.name.as_str(), Some(node.name.clone()), all, image, "app", Origin::Legacy);
                let _ = self.start(&id, false);
                self.invariants.allow(&node.name, 1);
            }
        }
    }
}
