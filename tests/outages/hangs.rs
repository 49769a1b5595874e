//! Engines that hang in the middle of a call, and broken event streams, through a proxy to the real engine.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use managed_app::host::Signal;
use managed_app_fakes::FakeCloud;
use managed_app_runtimes::conformance::{Disturbance, StallingProxy};
use managed_app_runtimes::docker::DockerRuntime;
use managed_app_runtimes::podman::PodmanRuntime;
use managed_app_runtimes::{ContainerRuntime, Limits};

use crate::engine::Engine;
use crate::engine_harness::EngineHarness;
use crate::images;
use crate::support::{Builder, Host};
use crate::turns;

on_each_engine! {
    a_hanging_engine_is_reported_and_recovers
    a_removed_engine_socket_is_reconnected_when_it_returns
}

/// Limit of one call, in place of a minute.
const CALL: Duration = Duration::from_secs(5);
/// Length of a truncated response: after the headers, within the body.
const BYTES_BEFORE_STALL: usize = 300;

async fn a_hanging_engine_is_reported_and_recovers(engine: Engine) {
    let _turn = turns::shared().await;
    let (mut engine_harness, proxy) = harness_behind_proxy(engine).await;
    let before = engine_harness.started_with(["a", "b"]).await;
    for after_bytes in [None, Some(BYTES_BEFORE_STALL)] {
        proxy.stall(after_bytes);
        engine_harness.cloud().set_node_config(&engine_harness.name("b"), &format!(r#"{{"stall":"{after_bytes:?}"}}"#));
        // A short response may pass completely; SIGHUP causes a list, which is long.
        engine_harness.host.signal(Signal::Hangup).await;
        engine_harness.host.eventually("the outage of the engine is reported", is_degraded).await;
        proxy.resume();
        engine_harness.host.eventually("the desired state is reached again", is_well).await;
    }
    engine_harness.restarted("b", &before[1]).await;
    engine_harness.assert_untouched("a", &before[0]).await;
    is_followed(&engine_harness).await;
}

async fn a_removed_engine_socket_is_reconnected_when_it_returns(engine: Engine) {
    let _turn = turns::shared().await;
    let (mut engine_harness, proxy) = harness_behind_proxy(engine).await;
    let before = engine_harness.started_with(["a", "b"]).await;
    proxy.take_away().await.expect("the socket was there");
    // The event of this stop is not received.
    engine.disturb(&["stop", before[1].id()]).await;
    engine_harness.host.eventually("the outage of the engine is reported", is_degraded).await;
    proxy.bring_back().await.expect("the socket's name is free");
    engine_harness.restarted("b", &before[1]).await;
    engine_harness.host.eventually("the desired state is reached again", is_well).await;
    engine_harness.assert_untouched("a", &before[0]).await;
    is_followed(&engine_harness).await;
}

/// Asserts that events are received: an external stop is reverted long before the next resync.
async fn is_followed(engine_harness: &EngineHarness) {
    let now = engine_harness.container("a").await;
    engine_harness.engine.disturb(&["stop", now.id()]).await;
    engine_harness.restarted("a", &now).await;
}

fn is_degraded(host: &Host) -> bool {
    host.status().is_some_and(|status| status.summary().contains("degraded, engine"))
}

fn is_well(host: &Host) -> bool {
    let is_sound = |host: &Host| host.status().is_some_and(|s| s.engine_failure.is_none());
    is_sound(host) && host.is_converged()
}

/// A harness whose daemon uses a proxy to the engine; the harness does not.
async fn harness_behind_proxy(engine: Engine) -> (EngineHarness, StallingProxy) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let endpoint = engine.endpoint();
    let socket = endpoint.strip_prefix("unix://").expect("scripts/engines listens on a Unix socket");
    let proxy = StallingProxy::start(Path::new(socket)).expect("a proxy needs a temporary folder only");
    let address = format!("unix://{}", proxy.path().display());
    let limits = Limits { call: CALL, stop_margin: CALL, ..Limits::default() };
    let runtime: Arc<dyn ContainerRuntime> = match engine {
        Engine::Docker => Arc::new(DockerRuntime::connect(Some(&address), limits).expect("the address is good")),
        Engine::Podman => Arc::new(PodmanRuntime::connect(&address, limits).await.expect("Podman answers")),
    };
    let cloud = FakeCloud::builder().app(&engine_harness.tag).start().await.expect("127.0.0.1 has free ports");
    cloud.registry.set_password(&images::password());
    let builder = Builder::new(cloud, runtime).set("MANAGED_APP_HOST_ID", &engine_harness.tag);
    engine_harness.host = builder.set("MANAGED_APP_STOP_GRACE", "2s").search_path(engine_harness.search_path()).off();
    (engine_harness, proxy)
}
