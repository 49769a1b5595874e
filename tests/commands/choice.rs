//! Selection of the engine, and the errors if none responds. Needs no engine.

use std::os::unix::net::UnixListener;

use crate::harness::Harness;

async fn harness_without_engine(runtime: &str) -> Harness {
    let mut harness = Harness::new().await;
    let socket = |name: &str| format!("unix://{}/{name}", harness.folder().display());
    let (docker, podman) = (socket("no-docker.sock"), socket("no-podman.sock"));
    harness.set("MANAGED_APP_RUNTIME", runtime);
    harness.set("DOCKER_HOST", &docker);
    harness.set("CONTAINER_HOST", &podman);
    harness
}

#[tokio::test]
async fn an_engine_that_is_down_ends_with_69_and_its_own_remedy() {
    for (runtime, remedy) in [("docker", "systemctl start docker"), ("podman", "systemctl enable --now podman.socket")]
    {
        let harness = harness_without_engine(runtime).await;
        let ran = harness.run(&["check"]).await;
        assert_eq!(ran.code, 69, "{}", ran.all());
        ran.shows("failed engine", &[&format!("no-{runtime}.sock"), remedy]);
        ran.shows("skipped node log groups", &["no engine"]);
        let ran = harness.run(&["plan"]).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (69, ""), "{}", ran.all());
        assert!(ran.stderr.contains(remedy), "{}", ran.all());
    }
}

#[tokio::test]
async fn without_an_engine_all_tried_endpoints_are_listed() {
    let harness = harness_without_engine("auto").await;
    for command in ["check", "plan", "run"] {
        let ran = harness.run(&[command]).await;
        assert_eq!(ran.code, 69, "{}", ran.all());
        let all = ran.all();
        for part in
            ["no-docker.sock", "no-podman.sock", "systemctl start docker", "systemctl enable --now podman.socket"]
        {
            assert!(all.contains(part), "{part} is not in {all}");
        }
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_used_ends_with_78() {
    let mut harness = harness_without_engine("podman").await;
    harness.set("CONTAINER_HOST", "ssh://me@elsewhere");
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    ran.shows("failed engine", &["check CONTAINER_HOST"]);
    let mut harness = harness_without_engine("docker").await;
    harness.set("DOCKER_HOST", "tcp://elsewhere:2375");
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    ran.shows("failed engine", &["check DOCKER_HOST"]);
}

#[tokio::test]
async fn a_hanging_engine_does_not_block_the_selection() {
    let harness = harness_without_engine("auto").await;
    // Connections wait in the queue of the socket and are never accepted.
    let _hung = UnixListener::bind(harness.folder().join("no-docker.sock")).expect("a socket");
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 69, "{}", ran.all());
    ran.shows("failed engine", &["did not answer in time", "it hangs: systemctl restart docker"]);
}
