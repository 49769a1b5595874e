//! The GraphQL side: tokens, the snapshot, `GetNode`, credentials, introspection, and the published schema.

use aws_credential_types::Credentials;
use managed_app_fakes::FakeCloud;
use managed_app_fakes::cloud::commands::{LogLevel, Mount, Port};
use managed_app_fakes::cloud::{Service, sigv4};
use serde_json::{Value, json};

use crate::client::{Client, config, text};

#[tokio::test]
async fn only_a_bare_valid_token_is_accepted() {
    let cloud = FakeCloud::start().await;
    let mut client = Client::signed_in(&cloud).await;
    let good = client.token.clone();
    for bad in ["", "nonsense", &format!("Bearer {good}")] {
        client.token = bad.to_owned();
        check_unauthorized(&client).await;
    }
    client.token = good;
    assert_eq!(client.app().await["name"], client.env["APP"]);
    cloud.expire_tokens();
    check_unauthorized(&client).await;
}

#[tokio::test]
async fn snapshot_shows_every_command() {
    let cloud = FakeCloud::start().await;
    cloud.add_node("a: first", |node| {
        node.image("example/a:1")
            .port(Port::udp(9000, 900).at("127.0.0.1"))
            .tcp(8080, 80)
            .volume("data", "/data")
            .mount(Mount::anonymous("/tmp/x"))
            .config("{\"speed\": 3}")
            .logging_level(LogLevel::Warning)
            .sends("hl7")
    });
    cloud.add_node("b", |node| node.image("example/b:1").receives("hl7"));
    cloud.connect("a: first", "b");
    cloud.connect("b", "Elsewhere");
    cloud.set_audit(true);
    cloud.set_table_access(true);
    let client = Client::signed_in(&cloud).await;
    let app = client.app().await;
    assert_eq!((&app["tableAccess"], &app["tenant"]["audit"]), (&json!(true), &json!(true)));
    let receiver = &app["nodes"][0];
    assert_eq!(receiver["name"], json!(format!("{}:Change Receiver", client.env["APP"])));
    assert_eq!(
        receiver["receiveEdge"],
        json!({"queue": cloud.change_queue(), "source": {"name": "App Change Router"}})
    );
    check_first(&app["nodes"][1]);
    let b = &app["nodes"][2];
    assert_eq!(b["receiveEdges"][0]["source"]["name"], "a: first");
    assert_eq!(b["sendEdges"][0]["target"]["name"], "Elsewhere");
    assert_eq!((&b["receiveMessageType"]["name"], &b["sendMessageType"]), (&json!("hl7"), &Value::Null));
    assert_eq!(cloud.services.calls(Service::AppSync, "GetApp"), 1);
}

fn check_first(node: &Value) {
    assert_eq!(node["managedNodeType"], json!({"name": "a: first:type", "imageUri": "example/a:1"}));
    assert_eq!((&node["loggingLevel"], &node["stopped"]), (&json!("WARNING"), &json!(false)));
    assert_eq!(node["config"], "{\"speed\": 3}");
    let ports = json!([
        {"containerPort": 900, "description": "port 900", "hostAddress": "127.0.0.1", "hostPort": 9000, "protocol": "udp"},
        {"containerPort": 80, "description": "port 80", "hostAddress": null, "hostPort": 8080, "protocol": "tcp"},
    ]);
    assert_eq!(node["ports"], ports);
    let mounts = json!([
        {"description": "mount /data", "source": "data", "target": "/data"},
        {"description": "mount /tmp/x", "source": null, "target": "/tmp/x"},
    ]);
    assert_eq!(node["mounts"], mounts);
}

#[tokio::test]
async fn one_node_can_be_requested_and_is_null_when_unknown() {
    let cloud = FakeCloud::start().await;
    cloud.add_node("a", |node| node.image("example/a:1"));
    let client = Client::signed_in(&cloud).await;
    let query = "query($node: String!, $tenant: String!) { GetNode(name: $node, tenant: $tenant) {
        __typename name ... on ManagedNode { app { name } } ... on AppChangeReceiverNode { receiveEdge { queue } } } }";
    let node = |name: String| {
        let client = &client;
        async move { client.graphql(query, json!({"node": name})).await.1["data"]["GetNode"].clone() }
    };
    let expected = json!({"__typename": "ManagedNode", "name": "a", "app": {"name": client.env["APP"]}});
    assert_eq!(node("a".to_owned()).await, expected);
    let receiver = node(format!("{}:Change Receiver", client.env["APP"])).await;
    assert_eq!(receiver["receiveEdge"]["queue"], json!(cloud.change_queue()));
    assert_eq!(node("b".to_owned()).await, Value::Null);
}

#[tokio::test]
async fn another_app_or_tenant_is_null() {
    let cloud = FakeCloud::start().await;
    let client = Client::signed_in(&cloud).await;
    let query = "query($name: String!, $tenant: String!) { GetApp(name: $name, tenant: $tenant) { name } }";
    for other in [json!({"name": "other"}), json!({"tenant": "other"})] {
        assert_eq!(client.graphql(query, other).await, (200, json!({"data": {"GetApp": null}})));
    }
}

#[tokio::test]
async fn credentials_last_as_requested_and_open_the_queue() {
    let cloud = FakeCloud::start().await;
    let client = Client::signed_in(&cloud).await;
    for seconds in [Some(899), Some(43_201)] {
        let (status, body) = client.credentials(seconds).await;
        assert_eq!((status, &body["data"]["GetApp"]), (200, &Value::Null));
        assert_eq!(body["errors"][0]["path"], json!(["GetApp", "GetAwsCredentials"]));
    }
    let (_, body) = client.credentials(Some(900)).await;
    let expiration = text(&body["data"]["GetApp"]["GetAwsCredentials"]["expiration"]);
    assert!(expiration.ends_with('Z') && expiration.len() == "2026-11-22T19:17:00.000Z".len(), "{expiration}");
    let sqs = client.queue().await;
    let url = cloud.change_queue();
    let receive = || sqs.receive_message().queue_url(&url).send();
    assert!(receive().await.expect("credentials are good").messages().is_empty());
    cloud.revoke_credentials();
    assert!(receive().await.is_err(), "credentials are revoked");
    assert_eq!(cloud.services.calls(Service::Credentials, "GetAwsCredentials"), 4);
}

#[tokio::test]
async fn errors_have_the_form_of_appsync() {
    let cloud = FakeCloud::start().await;
    let client = Client::signed_in(&cloud).await;
    let (status, body) = client.graphql("{ Nonsense }", json!({})).await;
    let error = &body["errors"][0];
    assert_eq!((status, &body["data"]), (200, &Value::Null));
    assert!(error["message"].is_string() && error["locations"][0]["line"] == 1, "{error}");
    assert!(error.get("errorType").is_some() && error.get("errorInfo").is_some());
}

#[tokio::test]
async fn introspection_answers_other_clients() {
    let cloud = FakeCloud::start().await;
    let client = Client::signed_in(&cloud).await;
    let query = "{ __schema { types { name kind fields { name } possibleTypes { name } } } }";
    let (_, body) = client.graphql(query, json!({})).await;
    let types = body["data"]["__schema"]["types"].as_array().expect("types").clone();
    let find = |name: &str| types.iter().find(|kind| kind["name"] == name).unwrap_or_else(|| panic!("no type {name}"));
    for (name, kind) in
        [("App", "INTERFACE"), ("Node", "INTERFACE"), ("ManagedAppNode", "UNION"), ("AWSJSON", "SCALAR")]
    {
        assert_eq!(find(name)["kind"], kind);
    }
    let members = json!([{"name": "AppChangeReceiverNode"}, {"name": "ManagedNode"}]);
    assert_eq!(find("ManagedAppNode")["possibleTypes"], members);
}

/// A part of the published schema, copied by hand, so that an error in a derived name or nullability is detected.
#[test]
fn schema_agrees_with_the_published_one() {
    let schema = FakeCloud::graphql_schema();
    for line in [
        "GetApp(name: String!, tenant: String!): App",
        "GetNode(name: String!, tenant: String!): Node",
        "GetAwsCredentials(duration: Int): AwsCredentials!",
        "type ManagedApp implements App {",
        "type ManagedNode implements Node {",
        "union ManagedAppNode = AppChangeReceiverNode | ManagedNode",
        "auditRecordsEndpoint: AWSURL!",
        "nodes: [ManagedAppNode]!",
        "tableAccess: Boolean!",
        "app: App!",
        "app: ManagedApp!",
        "config: AWSJSON",
        "loggingLevel: LogLevel",
        "managedNodeType: ManagedNodeType!",
        "mounts: [Mount!]",
        "ports: [Port!]",
        "receiveEdges: [Edge]",
        "receiveEdge: Edge!",
        "sendMessageType: MessageType",
        "stopped: Boolean",
        "queue: AWSURL!",
        "source: Node!",
        "imageUri: String!",
        "auditor: String!",
        "hostAddress: AWSIPAddress",
        "containerPort: Int!",
        "protocol: Protocol!",
        "expiration: AWSDateTime!",
        "accessKeyId: String!",
        "audit: Boolean",
        "region: String!",
    ] {
        assert!(schema.lines().any(|found| found.trim() == line), "no line {line:?} in\n{schema}");
    }
}

#[tokio::test]
async fn operator_credentials_do_not_open_the_queue() {
    let cloud = FakeCloud::start().await;
    let env = cloud.env();
    let (id, secret) = (&env["AWS_ACCESS_KEY_ID"], &env["AWS_SECRET_ACCESS_KEY"]);
    let credentials = Credentials::new(id, secret, None, None, "test");
    let config = config(&cloud.sqs_endpoint(), credentials).await;
    let url = cloud.change_queue();
    let refused = aws_sdk_sqs::Client::new(&config).receive_message().queue_url(&url).send().await;
    let refused = refused.expect_err("these are the operator's").into_service_error();
    assert_eq!(refused.meta().code(), Some(sigv4::Refusal::Denied.query_code()));
}

async fn check_unauthorized(client: &Client) {
    let (status, body) = client.graphql("{ __typename }", json!({})).await;
    assert_eq!((status, &body["errors"][0]["errorType"]), (401, &json!("UnauthorizedException")));
}
