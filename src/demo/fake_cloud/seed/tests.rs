//! Valid and invalid seed files.

use super::*;

async fn cloud_from(text: &str) -> Result<FakeCloud, String> {
    let seed = Seed::parse(Path::new("seed.toml"), text.to_owned()).map_err(|problem| problem.text)?;
    let cloud = seed.builder().start().await.expect("127.0.0.1 has free ports");
    seed.apply(&cloud).map_err(|problem| problem.text)?;
    Ok(cloud)
}

async fn error_of(text: &str) -> String {
    cloud_from(text).await.map(|_| ()).expect_err("the seed has a mistake")
}

#[tokio::test]
async fn packaged_seed_is_applied_completely_without_messages() {
    let cloud = cloud_from(include_str!("../../../../packaging/fake-cloud.toml")).await.expect("the example is good");
    let world = cloud.world();
    assert_eq!(world.nodes.keys().collect::<Vec<_>>(), ["filter", "inlet"]);
    let (inlet, filter) = (world.node("inlet"), world.node("filter"));
    assert_eq!(inlet.config.as_deref(), Some(r#"{"greeting":"hello","limits":{"per_second":5}}"#));
    assert_eq!((inlet.ports.len(), inlet.mounts.len()), (2, 3));
    assert_eq!(inlet.logging_level.map(|level| level.as_str()), Some("DEBUG"));
    assert_eq!((filter.receives.as_deref(), filter.sends.as_deref()), (Some("text"), Some("text")));
    assert!(world.message_types["text"].contains("length"));
    assert_eq!(world.edges.len(), 3);
    assert!(world.tenant.audit);
    assert_eq!(cloud.pending_changes(), 0);
    assert_eq!(cloud.env()["USER_POOL_ID"].split('_').next(), Some("us-east-1"));
}

#[tokio::test]
async fn an_empty_seed_is_an_app_without_nodes() {
    let cloud = cloud_from("").await.expect("nothing is required");
    assert!(cloud.world().nodes.is_empty());
}

#[tokio::test]
async fn seed_error_names_its_line() {
    for (text, line, part) in [
        ("app = 1", 1, "string"),
        ("\n\nnonsense = 1", 3, "nonsense"),
        ("app = 'a'\ntenant = \"it's\"", 2, "quotes"),
        ("[node.a]\nimage = 'x/a:1'\n\n[node.b]\nimag = 'x/b:1'", 5, "imag"),
        ("[node.a]\nimage = 'x/a:1'\n[node.b]", 3, "needs an image"),
        ("[node.a]\nimage = 'x/a:1'\nports = ['80']", 1, "8080:80"),
        ("[node.a]\nimage = 'x/a:1'\nlogging_level = 'LOUD'", 1, "DEBUG"),
        ("[node.a]\nimage = 'x/a:1'\nconfig = { at = 2026-01-01 }", 1, "no dates"),
        ("[[edge]]\nsource = 'a'\ntarget = 'b'\n[[edge]]\nsource = 'a'\ntarget = 'b'", 4, "already"),
        ("[[edge]]\nsource = 'a'", 1, "target"),
        ("[message_type.x]\nauditor = ''", 1, "no message type"),
        ("[node.a]\nimage = 'x/a:1'\ntype = 't'\n[node.b]\ntype = 't'\nimage = 'x/b:1'", 4, "set-image"),
    ] {
        let error = error_of(text).await;
        assert!(error.contains(&format!("seed.toml, line {line}:")) && error.contains(part), "{text:?}: {error}");
    }
}
