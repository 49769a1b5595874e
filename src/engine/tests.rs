//! Selection of the engine, and the error when there is none.

use managed_app_fakes::InMemoryRuntime;

use super::*;

fn engine(endpoint: &str, containers: usize) -> Result<FoundEngine, FailedAttempt> {
    let info = EngineInfo {
        kind: EngineKind::Memory,
        version: "1".to_owned(),
        endpoint: endpoint.to_owned(),
        has_awslogs: false,
    };
    Ok(FoundEngine { runtime: Arc::new(InMemoryRuntime::new()), info, containers })
}

fn failed(kind: EngineKind, endpoint: &str, error: ErrorKind, words: &'static str) -> FailedAttempt {
    FailedAttempt::new(kind, endpoint, &RuntimeError::new(error, "ask the engine at", endpoint).with_source(words))
}

#[test]
fn engine_with_most_containers_of_the_app_is_selected() {
    let down = || Err(failed(EngineKind::Docker, "d", ErrorKind::Unreachable, "no such file"));
    let check = |results: Vec<Result<FoundEngine, FailedAttempt>>, endpoint: &str, reason: &str| {
        let (chosen, why) = select_engine(results).expect("one found");
        assert_eq!(chosen.info.endpoint, endpoint);
        assert!(why.contains(reason), "{why}");
    };
    check(vec![engine("a", 0), engine("b", 0)], "a", "preferred");
    check(vec![engine("a", 0), engine("b", 3)], "b", "already holds");
    check(vec![engine("a", 1), engine("b", 3), engine("c", 3)], "b", "already holds");
    check(vec![down(), engine("b", 0)], "b", "only one");
    check(vec![engine("a", 2)], "a", "only one");
}

#[test]
fn error_without_an_engine_has_each_attempt_and_its_remedy() {
    let tried = vec![
        Err(failed(EngineKind::Docker, "unix:///d", ErrorKind::Unreachable, "no such file")),
        Err(failed(EngineKind::Podman, "unix:///run/user/7/p", ErrorKind::Unreachable, "no such file")),
        Err(failed(EngineKind::Podman, "unix:///p", ErrorKind::TimedOut, "silence")),
    ];
    let error = select_engine(tried).expect_err("none found");
    assert_eq!(error.kind(), NoEngineKind::Unreachable);
    let text = error.to_string();
    for part in [
        "docker: ask the engine at \"unix:///d\"",
        "for podman at unix:///p: it hangs",
        "systemctl start docker",
        "systemctl --user enable --now podman.socket",
        "systemctl restart podman",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn denied_socket_has_a_remedy_for_permissions() {
    for (kind, part) in [(EngineKind::Docker, "group `docker`"), (EngineKind::Podman, "systemctl --user")] {
        let denied = RuntimeError::new(ErrorKind::Unreachable, "ask the engine at", "x");
        let text = remedy(kind, "x", &denied.with_source("Permission denied (os error 13)"));
        assert!(text.contains(part) && text.contains("run as root"), "{text}");
    }
}

#[test]
fn two_names_of_one_socket_are_one_engine() {
    let folder = tempfile::tempdir().expect("a folder");
    let (real, link) = (folder.path().join("podman.sock"), folder.path().join("docker.sock"));
    std::fs::write(&real, "").expect("a file");
    std::os::unix::fs::symlink(&real, &link).expect("a link");
    let endpoint = |path: &Path| format!("unix://{}", path.display());
    assert!(is_same_socket(&endpoint(&link), &endpoint(&real)));
    assert!(!is_same_socket(&endpoint(&link), "unix:///nowhere"));
    assert!(!is_same_socket("unix:///nowhere", "unix:///nowhere"));
}
