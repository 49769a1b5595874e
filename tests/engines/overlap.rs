//! `MANAGED_APP_REPLACE=overlap`: a node responds without a gap while its image changes; a node with a host port or a
//! mount never has two running containers.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use managed_app_fakes::cloud::commands::Mount;
use managed_app_runtimes::conformance::free_port;

use crate::engine::{Container, Engine};
use crate::engine_harness::{EngineHarness, NODE_PORT};
use crate::shape::greet;
use crate::support::Builder;
use crate::wait::until;

on_each_engine! {
    in_overlap_a_node_answers_without_a_gap_while_it_is_replaced
}

/// Interval of the requests.
const REQUEST_INTERVAL: Duration = Duration::from_millis(5);
/// Long enough to observe the new container beside the old one on a busy machine.
const WINDOW: &str = "6s";
const NODES: [&str; 3] = ["free", "port", "mount"];

async fn in_overlap_a_node_answers_without_a_gap_while_it_is_replaced(engine: Engine) {
    let settings =
        |builder: Builder| builder.set("MANAGED_APP_REPLACE", "overlap").set("MANAGED_APP_REPLACE_WINDOW", WINDOW);
    let mut engine_harness = EngineHarness::with(engine, settings).await;
    let image = engine_harness.push("node:1", "1").await;
    let next = engine_harness.push("node:2", "2").await;
    engine_harness.add("free", |n| n.of_type("type").image(&image));
    engine_harness.add("port", |n| n.of_type("type").tcp(free_port(), NODE_PORT));
    engine_harness.add("mount", |n| n.of_type("type").mount(Mount::anonymous("/data")));
    engine_harness.host.start();
    engine_harness.host.converged().await;
    let before = engine_harness.containers(NODES).await;
    fix_the_bridge_address(&engine_harness).await;
    let client = Client::begin(addresses(&engine_harness, &before[..1]));
    until("it responds", async || client.answers() > 10).await;

    engine_harness.cloud().set_image("type", &next);
    let most = Mutex::new([0; NODES.len()]);
    until("all are replaced", async || {
        let running = running(&engine_harness).await;
        for (most, node) in most.lock().expect("no holder panics").iter_mut().zip(NODES) {
            *most = running.iter().filter(|(_, name)| name.starts_with(&engine_harness.name(node))).count().max(*most);
        }
        for (id, _) in running.iter().filter(|(_, name)| name.starts_with(&engine_harness.name("free"))) {
            // A container that is removed meanwhile is ignored.
            client.add_addresses(addresses(&engine_harness, engine.find(id).await.as_slice()));
        }
        before.iter().all(|old| running.iter().all(|(id, _)| id != old.id())) && engine_harness.host.is_converged()
    })
    .await;
    let answers = client.answers();
    until("it still responds", async || client.answers() > answers + 10).await;
    let (answers, gaps) = client.end();
    let most = most.into_inner().expect("no holder panicked");
    println!("{}: {answers} answers, {} gaps; containers at once: {most:?}", engine.name(), gaps.len());
    assert_eq!((gaps, most), (Vec::new(), [2, 1, 1]));
}

/// With netavark before 1.9 (its pull request 833), a bridge has the lowest address of its ports: each start or stop of
/// a container may change it, and responses to this host go to the old address until the container resolves it again.
/// Docker and newer netavark set a fixed address, as this function does.
async fn fix_the_bridge_address(engine_harness: &EngineHarness) {
    if engine_harness.engine != Engine::Podman {
        return;
    }
    let bridge = engine_harness
        .engine
        .run(&["network", "inspect", &engine_harness.tag, "--format", "{{.NetworkInterface}}"])
        .await;
    let address = std::fs::read_to_string(format!("/sys/class/net/{}/address", bridge.trim())).expect("a bridge");
    let arguments = ["link", "set", "dev", bridge.trim(), "address", address.trim()];
    let status = tokio::process::Command::new("ip").args(arguments).status().await.expect("ip of iproute2");
    assert!(status.success(), "ip {arguments:?}: {status}");
}

/// IDs and names of the running containers.
async fn running(engine_harness: &EngineHarness) -> Vec<(String, String)> {
    let filter = format!("name={}", engine_harness.tag);
    let text =
        engine_harness.engine.run(&["ps", "--no-trunc", "--filter", &filter, "--format", "{{.ID}} {{.Names}}"]).await;
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(id, name)| (id.to_owned(), name.to_owned())).collect()
}

/// The addresses on the network of the app.
fn addresses(engine_harness: &EngineHarness, containers: &[Container]) -> Vec<IpAddr> {
    let of = |container: &Container| {
        container.0["NetworkSettings"]["Networks"][engine_harness.tag.as_str()]["IPAddress"].as_str()?.parse().ok()
    };
    containers.iter().filter_map(of).collect()
}

/// Sends requests to a node, at all addresses that it ever had, the newest first.
struct Client(Arc<Poller>);

#[derive(Default)]
struct Poller {
    addresses: Mutex<Vec<IpAddr>>,
    answers: AtomicUsize,
    gaps: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

impl Client {
    fn begin(addresses: Vec<IpAddr>) -> Self {
        let poller = Arc::new(Poller { addresses: Mutex::new(addresses), ..Poller::default() });
        let shared = poller.clone();
        thread::spawn(move || {
            while !shared.is_over.load(Ordering::Relaxed) {
                match shared.request() {
                    Ok(()) => drop(shared.answers.fetch_add(1, Ordering::Relaxed)),
                    Err(gap) => shared.gaps.lock().expect("no holder panics").push(gap),
                }
                thread::sleep(REQUEST_INTERVAL);
            }
        });
        Self(poller)
    }

    fn add_addresses(&self, addresses: Vec<IpAddr>) {
        let mut known = self.0.addresses.lock().expect("no holder panics");
        let new: Vec<_> = addresses.into_iter().filter(|address| !known.contains(address)).collect();
        known.extend(new);
    }

    fn answers(&self) -> usize {
        self.0.answers.load(Ordering::Relaxed)
    }

    /// The number of responses, and the requests without a response.
    fn end(self) -> (usize, Vec<String>) {
        self.0.is_over.store(true, Ordering::Relaxed);
        (self.answers(), std::mem::take(&mut *self.0.gaps.lock().expect("no holder panics")))
    }
}

impl Poller {
    fn request(&self) -> Result<(), String> {
        let addresses = self.addresses.lock().expect("no holder panics").clone();
        let mut gap = format!("request {}:", self.answers.load(Ordering::Relaxed));
        for address in addresses.iter().rev() {
            let began = Instant::now();
            let answer = greet(*address, NODE_PORT);
            if answer.as_ref().is_ok_and(|text| text.contains("hello")) {
                return Ok(());
            }
            let _ = write!(gap, " {address} gave {answer:?} after {:?};", began.elapsed());
        }
        Err(gap)
    }
}
