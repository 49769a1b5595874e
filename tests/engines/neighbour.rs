//! Foreign containers on the same Docker, created by testcontainers, which takes its engine from `DOCKER_HOST`.

use testcontainers::core::WaitFor;
use testcontainers::runners::AsyncRunner;
use testcontainers::{GenericImage, ImageExt};

use crate::engine::Engine;
use crate::engine_harness::EngineHarness;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_of_testcontainers_is_left_alone() {
    let mut engine_harness = EngineHarness::new(Engine::Docker).await;
    let image = engine_harness.push_and_pull("neighbour:1").await;
    let (name, tag) = image.rsplit_once(':').expect("it was pushed with a tag");
    let neighbour = GenericImage::new(name, tag)
        .with_wait_for(WaitFor::message_on_stdout("started"))
        .with_container_name(engine_harness.name("neighbour"))
        .start()
        .await
        .expect("DOCKER_HOST names the engine of MANAGED_APP_TEST_DOCKER (scripts/engines env)");
    let before = Engine::Docker.container(neighbour.id()).await;
    engine_harness.started_with(["a"]).await;
    engine_harness.cloud().remove_node(&engine_harness.name("a"));
    engine_harness.gone("a").await;
    engine_harness.host.stop().await;
    let after = Engine::Docker.container(neighbour.id()).await;
    assert!(after.is_same_run(&before), "{:?} -> {:?}", before.run(), after.run());
    neighbour.rm().await.expect("it can be removed");
}
