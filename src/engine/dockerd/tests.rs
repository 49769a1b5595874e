//! Evidence of dockerd's credentials: units and shared files as data, and real processes behind real sockets.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use managed_app_runtimes::EngineKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const LONG: &str = "[default]\naws_access_key_id = AKIA\naws_secret_access_key = s\n";
const SHORT: &str = "[default]\naws_access_key_id=ASIA\naws_secret_access_key=s\naws_session_token=t\n";

/// A host with systemd and these files.
fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    let standard = [
        ("etc/passwd", "daemon:x:1:1::/usr/sbin:/x\nroot:x:0:0:root:/root:/bin/bash\n"),
        ("run/systemd/system/x", ""),
        ("usr/lib/systemd/system/docker.service", "[Unit]\nEnvironment=AWS_ACCESS_KEY_ID=no\n[Service]\nType=notify\n"),
    ];
    for (path, text) in standard.iter().chain(files) {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    root
}

/// The evidence on such a host, as its kind and reason.
fn evidence(files: &[(&str, &str)], version: &str) -> String {
    let root = host(files);
    match examine(root.path(), 1, version) {
        Ok(Evidence::Lasting(what)) => format!("lasting: {what}"),
        Ok(Evidence::Expiring(what)) => format!("ending: {what}"),
        Ok(Evidence::None(why)) => format!("none: {why}"),
        Ok(Evidence::NoneWithoutRole(why)) => format!("no role: {why}"),
        Ok(Evidence::Unknown(why)) => format!("elsewhere: {why}"),
        Err(why) => format!("unknown: {why}"),
    }
}

#[test]
fn units_and_shared_files_show_dockerd_credentials() {
    let drop_in = "etc/systemd/system/docker.service.d/aws.conf";
    let shared = "root/.aws/credentials";
    let check = |files: &[(&str, &str)], version: &str, expected: &str| {
        let found = evidence(files, version);
        assert!(found.starts_with(expected), "{files:?} on {version}: {found}");
    };
    check(&[], "26.1.5", "none: ");
    let keys = "[Service]\nEnvironment=\"AWS_ACCESS_KEY_ID=AKIA\" AWS_SECRET_ACCESS_KEY=s\n";
    check(&[(drop_in, keys)], "20.10.24", "lasting: AWS_ACCESS_KEY_ID in the environment of docker.service");
    check(&[(drop_in, &format!("{keys}Environment=AWS_SESSION_TOKEN=t\n"))], "20.10.24", "ending: ");
    check(&[(drop_in, &format!("{keys}Environment=\n"))], "20.10.24", "none: ");
    check(&[(drop_in, keys), ("etc/systemd/system/docker.service.d/b.txt", "")], "1", "lasting: ");
    let weaker = "lib/systemd/system/docker.service.d/aws.conf";
    check(&[(drop_in, ""), (weaker, keys)], "1", "none: ");
    check(&[(drop_in, "[Service]\nEnvironment=AWS_ACCESS_KEY_ID=half\n")], "1", "none: ");
    let file = "[Service]\nEnvironmentFile=-/etc/default/docker\n";
    let assignments = "# x\nAWS_ACCESS_KEY_ID='AKIA'\nAWS_SECRET_ACCESS_KEY=s\n";
    check(&[(drop_in, file), ("etc/default/docker", assignments)], "1", "lasting: ");
    check(&[(drop_in, file)], "1", "none: ");
    // Without HOME, version 1 of the SDK finds no file; version 2 asks the user database.
    check(&[(shared, LONG)], "20.10.24", "none: ");
    check(&[(shared, LONG)], "26.1.5+dfsg1", "lasting: those in /root/.aws/credentials");
    check(&[(shared, SHORT)], "26.1.5+dfsg1", "ending: those in /root/.aws/credentials");
    let home = "[Service]\nEnvironment=HOME=%h\n";
    check(&[(drop_in, home), (shared, LONG)], "20.10.24", "lasting: ");
    check(&[(drop_in, home), (shared, SHORT)], "20.10.24", "ending: ");
    let other = format!("{home}Environment=AWS_PROFILE=logs\n");
    check(&[(drop_in, &other), (shared, LONG)], "20.10.24", "none: ");
    let config = ("root/.aws/config", "[profile logs]\ncredential_process = /bin/x\n");
    check(&[(drop_in, &other), (shared, LONG), config], "26", "lasting: credential_process in /root/.aws/config");
    let container = "[Service]\nEnvironment=AWS_CONTAINER_CREDENTIALS_FULL_URI=http://169.254.170.23/x\n";
    check(&[(drop_in, container)], "1", "lasting: AWS_CONTAINER_CREDENTIALS_FULL_URI");
    check(&[(drop_in, "[Service]\nEnvironment=AWS_EC2_METADATA_DISABLED=true\n")], "1", "no role: ");
    let elsewhere = "[Service]\nEnvironment=AWS_EC2_METADATA_SERVICE_ENDPOINT=http://10.0.0.1\n";
    check(&[(drop_in, elsewhere)], "1", "elsewhere: ");
    let web = "[Service]\nEnvironment=AWS_ROLE_ARN=r \\\n  AWS_WEB_IDENTITY_TOKEN_FILE=/t\n";
    check(&[(drop_in, web)], "1", "lasting: AWS_WEB_IDENTITY_TOKEN_FILE");
}

#[test]
fn host_without_evidence_is_unknown() {
    let root = tempfile::tempdir().expect("a folder");
    let unknown = examine(root.path(), 1, "26").expect_err("there is no systemd");
    assert!(unknown.contains("systemd does not run it"), "{unknown}");
    fs::create_dir_all(root.path().join("run/systemd/system")).expect("made");
    let unknown = examine(root.path(), 1, "26").expect_err("there is no unit");
    assert!(unknown.contains("docker.service"), "{unknown}");
}

#[test]
fn evidence_contains_no_secret() {
    let text = "[Service]\nEnvironment=AWS_ACCESS_KEY_ID=AKIAVERYSECRET AWS_SECRET_ACCESS_KEY=hunter2\n";
    let said = evidence(&[("etc/systemd/system/docker.service.d/a.conf", text)], "26");
    assert!(!said.contains("AKIAVERYSECRET") && !said.contains("hunter2"), "{said}");
}

/// Runs as parent and as child: the child listens like dockerd, in the environment that the parent sets.
#[tokio::test]
async fn the_environment_of_the_process_behind_the_socket_decides() {
    const SOCKET: &str = "MANAGED_APP_TEST_LISTEN_AT";
    const NAME: &str = "engine::dockerd::tests::the_environment_of_the_process_behind_the_socket_decides";
    if let Some(path) = crate::config::process_environment(SOCKET) {
        let _listener = UnixListener::bind(path).expect("a socket");
        println!("listening");
        // Until the parent ends.
        let _ = std::io::stdin().read(&mut [0]);
        return;
    }
    let found = async |variables: &[(&str, &str)]| {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("docker.sock");
        let mut run = Command::new(std::env::current_exe().expect("this program has a path"));
        run.args(["--exact", NAME, "--nocapture"]).env_clear().env(SOCKET, &socket).envs(variables.iter().copied());
        let mut child = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("this program can be run");
        while !socket.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let info = EngineInfo {
            kind: EngineKind::Docker,
            version: "20.10.24".to_owned(),
            endpoint: format!("unix://{}", socket.display()),
            has_awslogs: true,
        };
        let host = Host { root: PathBuf::from("/"), metadata: None };
        let found = credentials(host, &info).await;
        drop(child.stdin.take().expect("it is ours").write_all(b"x"));
        child.wait().expect("the child ends");
        found
    };
    let keys = [("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "s")];
    assert!(matches!(found(&keys).await, DockerdCredentials::Found(_)));
    assert!(matches!(found(&[]).await, DockerdCredentials::Absent(_)));
    assert!(matches!(found(&[("AWS_EC2_METADATA_DISABLED", "true")]).await, DockerdCredentials::Absent(_)));
}

#[tokio::test]
async fn an_engine_without_a_socket_of_this_host_is_unknown() {
    for endpoint in ["tcp://127.0.0.1:2375", "unix:///nonexistent/docker.sock"] {
        let (kind, version) = (EngineKind::Docker, "26".to_owned());
        let info = EngineInfo { kind, version, endpoint: endpoint.to_owned(), has_awslogs: true };
        let found = credentials(Host { root: PathBuf::from("/"), metadata: None }, &info).await;
        assert!(matches!(found, DockerdCredentials::Unknown(_)), "{endpoint}: {found:?}");
    }
}

/// A metadata service that answers each request, on a connection of its own, with the next of `answers`.
async fn metadata(answers: Vec<&'static str>) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let task = tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut bytes = [0; 1024];
            let _ = stream.read(&mut bytes).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        // Later requests get no response.
        std::future::pending::<()>().await;
    });
    (address, task)
}

#[tokio::test]
async fn a_role_is_one_that_the_metadata_service_names() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    const TOKEN: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\ntoken";
    const ROLE: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nrole";
    const EMPTY: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    const ABSENT: &str = "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    for (answers, expected) in [
        (vec![TOKEN, ROLE], true),
        (vec![TOKEN, ABSENT], false),
        (vec![TOKEN, EMPTY], false),
        (vec![ABSENT], false),
        (vec![], false),
    ] {
        let (address, task) = metadata(answers.clone()).await;
        let began = std::time::Instant::now();
        assert_eq!(role::has_role(&address).await, expected, "{answers:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "it has a limit");
        task.abort();
    }
}
