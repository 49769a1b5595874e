//! Proves that each rule fires: violations in synthetic files, and similar code that must pass.
//!
//! Cases are data; only `findings` touches the rules.

use crate::{
    rules::{BANS, check, matches},
    source::Source,
};

/// The findings in a file at `path` with `code` below a proper first line.
fn findings(path: &str, code: &str) -> Vec<String> {
    check(&Source::parse(path, &format!("//! Owns a case.\n{code}\n")))
}

#[track_caller]
fn fires(path: &str, code: &str, reason: &str) {
    let found = findings(path, code);
    assert_eq!(found.len(), 1, "{path}: {code}: {found:?}");
    assert!(found[0].starts_with(&format!("{path}:2: ")) && found[0].contains(reason), "{found:?}");
}

#[track_caller]
fn passes(path: &str, code: &str) {
    assert_eq!(findings(path, code), Vec::<String>::new(), "{path}: {code}");
}

#[test]
fn each_ban_fires_within_its_scope_and_not_in_exceptions() {
    for ban in BANS {
        for pattern in ban.patterns {
            let code = match pattern.strip_suffix('*') {
                Some(start) => format!("use {start}x::y;"),
                None if ["async", "await"].contains(pattern) => format!("probe!({pattern});"),
                None => format!("use {pattern};"),
            };
            for path in ban.within {
                fires_with(&format!("{path}probe.rs"), &code, ban.reason);
            }
            for path in ban.except {
                let file = if path.ends_with('/') { format!("{path}probe.rs") } else { (*path).to_owned() };
                let found = findings(&file, &code);
                assert!(!found.iter().any(|finding| finding.contains(ban.reason)), "{file}: {code}: {found:?}");
            }
        }
    }
}

/// As `fires`, for code that also violates other rules.
#[track_caller]
fn fires_with(path: &str, code: &str, reason: &str) {
    let found = findings(path, code);
    assert!(found.iter().any(|finding| finding.contains(reason)), "{path}: {code}: {found:?}");
}

#[test]
fn banned_paths_are_found_in_groups_macros_and_expressions() {
    let clients = "runtimes/src/podman";
    fires("runtimes/src/podman/mod.rs", "use {std::fmt, bollard::{Docker, errors::Error as E}};", clients_of("docker"));
    fires("src/status/mod.rs", "use std::{env, fmt};", "environment");
    fires("src/status/mod.rs", "fn f() { let _ = std::env::var(\"A\"); }", "environment");
    fires("src/status/mod.rs", "fn f() { tokio::select! { _ = tokio::spawn(g()) => {} } }", "owner");
    fires("src/status/mod.rs", "use tokio::{task::{self, JoinSet}, time};", "owner");
    fires("src/host/mod.rs", "use std::process; fn f() -> ! { process::exit(1) }", "ends the process");
    fires("src/driver/mod.rs", "fn f(runtime: podman_api::Podman) {}", clients);
    fires("src/status/mod.rs", "use aws_sdk_sqs as sqs;", "AWS clients");
    fires("src/model/app.rs", "#[derive(Debug, serde::Deserialize)] struct App;", "never serialized");
    fires("src/reconciler/plan.rs", "async fn f() {}", "never waits");
    fires("src/reconciler/plan.rs", "fn f() { let _ = std::time::Instant::now(); }", "no clock");
}

fn clients_of(engine: &str) -> &'static str {
    let ban = BANS.iter().find(|ban| ban.except.iter().any(|path| path.contains(engine)));
    ban.expect("each engine has its ban").reason
}

#[test]
fn look_alikes_of_banned_paths_pass() {
    passes(
        "src/status/mod.rs",
        "//! Mentions std::env and tokio::spawn.\nconst TEXT: &str = \"std::env::var\"; // std::env",
    );
    passes("src/status/mod.rs", "fn spawn() { my::tokio_spawn(); crate::tasks::spawn(); }");
    passes("src/status/mod.rs", "const NAME: &str = env!(\"CARGO_PKG_NAME\");");
    passes("src/reconciler/plan.rs", "use std::time::Instant; fn f(now: Instant) { let operand = now; }");
    passes(
        "src/reconciler/plan.rs",
        "#[cfg(test)] mod tests { use rand::random; #[test] fn f() { random().unwrap() } }",
    );
    passes("src/reconciler/plan/tests.rs", "use std::time::SystemTime;");
    passes(
        "tests/engines/main.rs",
        "use bollard::Docker; fn f() { tokio::spawn(g()).unwrap(); std::process::exit(1) }",
    );
}

#[test]
fn code_after_a_test_item_is_product_code_again() {
    fires("src/status/mod.rs", "#[cfg(test)] mod tests; use std::env;", "environment");
    fires("src/status/mod.rs", "#[cfg(test)] mod tests { fn f() {} } use std::env;", "environment");
}

#[test]
fn modules_use_only_lower_layers() {
    fires("src/model/app.rs", "use crate::reconciler::Plan;", "model is not above reconciler");
    fires("src/reconciler/plan.rs", "use crate::{model::App, cloud::Error};", "crate::cloud::Error");
    fires("src/reconciler/plan.rs", "use crate::text::chain;", "reconciler is not above text");
    fires("src/status/metrics.rs", "fn f() { crate::driver::Driver::new(); }", "status is not above driver");
    fires("src/logs/follow.rs", "use crate::registry::Registry;", "logs is not above registry");
    fires("src/text.rs", "use crate::json_file::JsonFile;", "text is not above json_file");
    fires("src/undeclared.rs", "use crate::model::App;", "undeclared is not above model");
    passes("src/driver/mod.rs", "use crate::{status::Recorder, text::chain, driver::operate, tasks::Tasks};");
    passes("src/reconciler/plan.rs", "use crate::{model::App, reconciler::Event}; use managed_app_runtimes::Owner;");
    passes("src/status/mod.rs", "#[cfg(test)] mod tests { use crate::driver::Driver; }");
}

#[test]
fn long_files_fire_one_line_above_the_limit() {
    passes("src/a.rs", &"\n".repeat(598));
    assert!(findings("src/a.rs", &"\n".repeat(599))[0].contains("the file has 601 lines"));
}

#[test]
fn unfinished_work_fires_in_product_code_and_in_tests() {
    for path in ["src/a.rs", "tests/a.rs", "fakes/src/a.rs"] {
        fires(path, "#[test] #[ignore = \"slow\"] fn f() {}", "repair the test");
        fires(path, concat!("// FIX", "ME: later"), "unfinished work");
        passes(path, "fn ignore() { let todo = [1]; }");
    }
}

#[test]
fn a_second_observer_of_containers_fires() {
    for verb in ["list", "events"] {
        let code = format!("async fn f() {{ self.runtime.{verb}(&owner).await }}");
        fires("src/logs/shipper.rs", &code, "subscribe to what is known");
        fires("src/daemon/feeds.rs", &code, "subscribe to what is known");
        for path in ["src/engine.rs", "src/cli/plan.rs", "tests/costs/calls.rs"] {
            passes(path, &code);
        }
    }
    passes("src/logs/shipper.rs", "async fn f() { self.runtime.logs(&id, None).await; containers.list() }");
}

#[test]
fn file_without_a_head_comment_fires() {
    let found = check(&Source::parse("src/a.rs", "use std::fmt;\n"));
    assert_eq!(found, ["src/a.rs:1: a file starts with `//!`: its responsibility and its limits"]);
}

#[test]
fn patterns_match_whole_segments() {
    let source = Source::parse("src/a.rs", "use tokio::spawned; use aws_sdk_ecr::Client;");
    let mentions = source.mentions();
    let matching = |pattern: &str| mentions.iter().filter(|mention| matches(mention, pattern)).count();
    assert_eq!((matching("tokio::spawn"), matching("tokio"), matching("aws_sdk_*"), matching("aws_sdk")), (0, 1, 1, 0));
}
