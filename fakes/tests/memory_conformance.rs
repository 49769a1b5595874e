//! The conformance suite on the in-memory engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use managed_app_fakes::faulty::Verb;
use managed_app_fakes::memory::View;
use managed_app_fakes::{Behaviour, Faulty, InMemoryRuntime};
use managed_app_runtimes::conformance::{
    self, Act, BROKEN_UTF8, CONTROL, Disturbance, LINES, LONG_LINE_BYTES, Outcome, Program, Runtime, Seen, SeenMount,
    Subject,
};
use managed_app_runtimes::{
    ContainerState, ErrorKind, ImageReference, Limits, LogSettings, LogSource, MountSource, RegistryCredentials,
};
use secrecy::ExposeSecret;
use tokio::task::JoinSet;

/// Makes a handle break the contract.
type Defect = fn(&Faulty);

const REGISTRY: &str = "registry.test";

#[tokio::test(flavor = "multi_thread")]
async fn the_in_memory_engine_conforms() {
    let report = conformance::run(&MemorySubject::new()).await;
    assert!(report.failures().is_empty(), "{}", report.details());
    assert!(report.len() >= 45, "only {} checks", report.len());
    println!("{}", report.to_markdown());
    if let Some(folder) = std::env::var_os("MANAGED_APP_CONFORMANCE_DIR") {
        report.save(folder.as_ref(), "1-memory").expect("the report is saved");
    }
}

/// A suite that passes everything proves nothing: it must detect each of these broken backends.
#[tokio::test(flavor = "multi_thread")]
async fn broken_backends_fail_the_suite() {
    let cases: [(&str, Defect); 5] = [
        ("stop_ends_the_process", |faulty| faulty.on(Verb::Stop).fail(ErrorKind::Other)),
        ("remove_of_an_absent_container_is_ok", |faulty| faulty.on(Verb::Remove).fail(ErrorKind::NotFound)),
        ("pull_of_an_unknown_tag_is_not_found", |faulty| faulty.on(Verb::Pull).fail(ErrorKind::Refused)),
        ("events_report_an_external_kill", |faulty| faulty.swallow_events(true)),
        ("stop_of_a_cooperative_process_does_not_wait", |faulty| faulty.on(Verb::Stop).delay(Duration::from_secs(21))),
    ];
    let judge = |(check, defect): (&'static str, Defect)| async move {
        let report = conformance::run_only(&MemorySubject::with_defect(defect), |name| name.starts_with(check)).await;
        assert_eq!((report.len(), report.failures().len()), (1, 1), "{check} should have failed: {report:?}");
    };
    futures_util::future::join_all(cases.map(judge)).await;
}

struct MemorySubject {
    engine: InMemoryRuntime,
    /// The defect of the handles, if any.
    defect: Option<Defect>,
    /// Tasks that print in containers with continuous output.
    printers: Mutex<JoinSet<()>>,
}

impl MemorySubject {
    fn new() -> Self {
        let subject = Self { engine: InMemoryRuntime::new(), defect: None, printers: Mutex::default() };
        let credentials = subject.credentials();
        subject.engine.require_credentials(REGISTRY, &credentials.username, credentials.password.expose_secret());
        subject
    }

    fn with_defect(defect: Defect) -> Self {
        Self { defect: Some(defect), ..Self::new() }
    }

    fn print_ticks(&self, name: &str) {
        let (engine, name) = (self.engine.clone(), name.to_owned());
        let ticks = async move {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                match engine.container(&name) {
                    Some(view) if !view.container.state.is_running() => {}
                    Some(_) => engine.print(&name, "tick").expect("it was there a moment ago"),
                    // Not created yet, or removed.
                    None => {}
                }
            }
        };
        self.printers.lock().expect("not poisoned").spawn(ticks);
    }
}

#[async_trait]
impl Subject for MemorySubject {
    fn name(&self) -> String {
        "In memory".to_owned()
    }

    fn exceptions(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    async fn connect(&self, limits: Limits) -> Outcome<Runtime> {
        let handle = Arc::new(self.engine.handle(limits));
        let Some(defect) = self.defect else { return Ok(handle) };
        let faulty = Faulty::new(handle);
        defect(&faulty);
        Ok(Arc::new(faulty))
    }

    async fn connect_disturbed(&self, limits: Limits) -> Outcome<(Runtime, Box<dyn Disturbance>)> {
        Ok((Arc::new(self.engine.handle(limits)), Box::new(EngineSwitch(self.engine.clone()))))
    }

    async fn load_image(&self, image: &ImageReference, marker: &str) -> Outcome {
        self.engine.load_image(image, marker.as_bytes());
        Ok(())
    }

    async fn publish_image(&self, repository: &str, tag: &str, marker: &str) -> Outcome<ImageReference> {
        let image = format!("{REGISTRY}/{repository}:{tag}").parse().expect("a valid reference");
        self.engine.publish_image(&image, marker.as_bytes());
        Ok(image)
    }

    async fn digest_of(&self, image: &ImageReference) -> Outcome<String> {
        // In this engine an image's id is its digest.
        Ok(self.engine.published_image(image).expect("published by the check").0)
    }

    fn credentials(&self) -> RegistryCredentials {
        RegistryCredentials { username: "AWS".to_owned(), password: "right".into() }
    }

    async fn stalled_image(&self) -> Outcome<ImageReference> {
        let image = "silent.test/image:1".parse().expect("a valid reference");
        self.engine.stall_pulls(&image, true);
        Ok(image)
    }

    async fn throttled_image(&self) -> Outcome<ImageReference> {
        self.engine.throttle_registry("throttling.test", u32::MAX);
        Ok("throttling.test/image:1".parse().expect("a valid reference"))
    }

    async fn restart_engine(&self) -> Outcome {
        self.engine.go_down();
        self.engine.come_back();
        Ok(())
    }

    async fn prepare(&self, name: &str, program: Program) -> Outcome {
        let out = |bytes: Vec<u8>| vec![(LogSource::Stdout, bytes.into())];
        match program {
            Program::Idle => self.engine.set_output(name, out(b"ready\n".to_vec())),
            Program::Stubborn => self.engine.set_behaviour(name, Behaviour::IgnoresStop),
            Program::Lines => {
                let lines: String = (0..LINES).map(|number| format!("line {number}\n")).collect();
                self.engine.set_output(name, out(lines.into_bytes()));
            }
            Program::LongLine => {
                self.engine.set_output(name, out([&vec![b'x'; LONG_LINE_BYTES][..], b"\n"].concat()));
            }
            Program::Binary => self.engine.set_output(name, out([CONTROL, b"\n", BROKEN_UTF8, b"\n"].concat())),
            Program::Both => {
                let pieces = [(LogSource::Stdout, "to stdout\n".into()), (LogSource::Stderr, "to stderr\n".into())];
                self.engine.set_output(name, pieces.into());
            }
            Program::Unfinished => {
                let pieces = [(LogSource::Stdout, "unfinished".into()), (LogSource::Stderr, "begun\n".into())];
                self.engine.set_output(name, pieces.into());
            }
            Program::Ticks => self.print_ticks(name),
        }
        Ok(())
    }

    async fn inspect(&self, name: &str) -> Outcome<Option<Seen>> {
        Ok(self.engine.container(name).map(seen))
    }

    async fn network_labels(&self, name: &str) -> Outcome<Vec<BTreeMap<String, String>>> {
        Ok(self.engine.network_labels(name).into_iter().collect())
    }

    async fn network_id(&self, name: &str) -> Outcome<Option<String>> {
        // In this engine a network's name is its id, so a prefix of the id is a prefix of the name.
        Ok(self.engine.network_labels(name).map(|_| name.to_owned()))
    }

    async fn resolves(&self, from: &str, name: &str) -> Outcome<bool> {
        Ok(self.engine.resolves(from, name))
    }

    async fn volumes(&self) -> Outcome<BTreeSet<String>> {
        Ok(self.engine.volumes().into_iter().collect())
    }

    async fn act(&self, act: Act<'_>) -> Outcome {
        match act {
            Act::Run { name, labels, network, .. } => {
                self.engine.add_stranger(name, labels.clone(), &[network])?;
            }
            Act::Kill(name) => self.engine.kill(name)?,
            Act::Pause(name) => self.engine.pause(name)?,
            Act::Unpause(name) => self.engine.unpause(name)?,
            Act::Rename(name, new_name) => self.engine.rename_externally(name, new_name)?,
            Act::Remove(name) => self.engine.remove_externally(name)?,
            Act::Disconnect(name, network) => self.engine.disconnect(name, network)?,
            Act::MakeNetwork(name) => self.engine.add_network(name),
            Act::RemoveFolder(path) => {
                std::fs::remove_dir(path)?;
                self.engine.set_bind_source(&path.to_string_lossy(), false);
            }
            Act::MakeFolder(path) => {
                std::fs::create_dir(path)?;
                self.engine.set_bind_source(&path.to_string_lossy(), true);
            }
            Act::RemoveNetwork(name) => self.engine.remove_network(name),
            // The engine keeps the parts of an image that containers need, and rejects the removal of a volume in use.
            Act::RemoveImage(image) | Act::RemoveImageByForce(image) => self.engine.remove_image_externally(image),
            Act::RemoveVolumeByForce(name) => self.engine.remove_volume(name),
        }
        Ok(())
    }

    fn disturbs_one_handle_only(&self) -> bool {
        false
    }

    async fn clear(&self, prefix: &str) -> Outcome {
        for view in self.engine.containers().iter().filter(|view| view.container.name.starts_with(prefix)) {
            self.engine.remove_externally(&view.container.name)?;
        }
        for network in self.engine.networks().iter().filter(|network| network.starts_with(prefix)) {
            self.engine.remove_network(network);
        }
        Ok(())
    }

    async fn clean(&self, prefix: &str) -> Outcome {
        self.clear(prefix).await?;
        for volume in self.engine.volumes().iter().filter(|volume| volume.starts_with(prefix)) {
            self.engine.remove_volume(volume);
        }
        Ok(())
    }
}

struct EngineSwitch(InMemoryRuntime);

#[async_trait]
impl Disturbance for EngineSwitch {
    fn stall(&self, _after_bytes: Option<usize>) {
        self.0.hang();
    }

    fn resume(&self) {
        self.0.come_back();
    }

    async fn take_away(&self) -> Outcome {
        self.0.go_down();
        Ok(())
    }

    async fn bring_back(&self) -> Outcome {
        self.0.come_back();
        Ok(())
    }
}

/// The engine's state in the types of the suite. Fields of a spec come from the stored container, not from the check.
fn seen(view: View) -> Seen {
    let View { container, spec, volumes, starts } = view;
    let is_running = matches!(container.state, ContainerState::Running | ContainerState::Paused);
    let mut seen = Seen {
        id: container.id.0,
        name: container.name,
        image_id: container.image_id.0,
        labels: container.labels,
        networks: container.networks.into_iter().collect(),
        log_driver: "memory".to_owned(),
        restart_policy: "unless-stopped".to_owned(),
        is_running,
        started: format!("{starts} {:?}", container.started_at),
        ..Seen::default()
    };
    let volumes = volumes.into_iter().map(|volume| (volume.target, SeenMount::Volume(volume.name)));
    seen.mounts.extend(volumes);
    let Some(spec) = spec else { return seen };
    seen.hostname = spec.hostname;
    seen.env = spec.env.iter().map(|(key, value)| (key.clone(), value.expose().to_owned())).collect();
    seen.ports = spec.ports.into_iter().collect();
    for mount in spec.mounts {
        if let MountSource::Bind(path) = mount.source {
            seen.mounts.insert(mount.target, SeenMount::Bind(path));
        }
    }
    if let LogSettings::Engine { file_bytes_max, files_max } = spec.logs {
        (seen.log_bytes_max, seen.log_files_max) = (Some(file_bytes_max), Some(files_max));
    }
    seen.hardening = spec.hardening;
    seen.stop_timeout_s = Some(spec.stop_grace.as_secs());
    seen
}
