//! Tests with valid, unusual and invalid responses to `GetApp`.

use managed_app_runtimes::{Mount, MountSource, PortBinding, Protocol};
use serde_json::{Value, json};

use super::*;
use crate::model::{Edge, MessageType, NodeType, RegistryHost};

fn decode(answer: &Value) -> Result<Snapshot, String> {
    let data = serde_json::from_value(json!({ "GetApp": answer })).expect("the schema takes every shape here");
    snapshot(data, "my app", "tenant")
}

fn app_of(answer: &Value) -> Arc<App> {
    match decode(answer) {
        Ok(Snapshot::App(app) | Snapshot::Update { app, .. }) => app,
        other => panic!("{other:?}"),
    }
}

fn answer(nodes: Value) -> Value {
    json!({
        "__typename": "ManagedApp", "name": "my app", "config": "{\"a\":1}", "tableAccess": true,
        "auditRecordsEndpoint": "https://audit.example",
        "tenant": {"audit": true, "config": null, "region": "eu-west-1", "table": "table"},
        "nodes": nodes,
    })
}

fn node() -> Value {
    json!({
        "__typename": "ManagedNode", "name": "a", "config": "{}", "loggingLevel": "DEBUG", "stopped": null,
        "managedNodeType": {"name": "type", "imageUri": "public.ecr.aws/x/y:1"},
        "mounts": [
            {"source": null, "target": "/anonymous"}, {"source": "", "target": "/empty"},
            {"source": "volume", "target": "/volume"}, {"source": "/host", "target": "/bind"},
        ],
        "ports": [
            {"containerPort": 80, "hostAddress": null, "hostPort": 8080, "protocol": "tcp"},
            {"containerPort": 53, "hostAddress": "::1", "hostPort": 5353, "protocol": "udp"},
            {"containerPort": 9, "hostAddress": "10.0.0.1", "hostPort": 1, "protocol": "sctp"},
        ],
        "receiveEdges": [
            {"queue": "https://q/2", "source": {"name": "s2"}}, null, {"queue": "https://q/1", "source": {"name": "s1"}},
            {"queue": null, "source": {"name": "s3"}}, {"queue": "https://q/4", "source": null},
        ],
        "sendEdges": null,
        "receiveMessageType": {"name": "in", "auditor": "def auditor(): ..."},
        "sendMessageType": null,
    })
}

fn receiver() -> Value {
    json!({
        "__typename": "AppChangeReceiverNode", "name": "my app:Change Receiver",
        "receiveEdge": {"queue": "https://q/changes.fifo", "source": {"name": "App Change Router"}},
    })
}

#[test]
fn a_whole_app() {
    let app = app_of(&answer(json!([receiver(), node()])));
    assert!(app.is_complete && app.invalid_nodes.is_empty());
    assert_eq!((app.tenant.region.as_str(), app.tenant.table.as_str(), app.tenant.audit), ("eu-west-1", "table", true));
    assert_eq!((app.config.as_deref(), app.table_access), (Some("{\"a\":1}"), true));
    let receiver = app.change_receiver.as_ref().expect("there is one");
    assert_eq!((receiver.queue.as_str(), receiver.source.as_str()), ("https://q/changes.fifo", "App Change Router"));

    let node = app.nodes.values().next().expect("one node");
    assert_eq!(
        node.node_type,
        NodeType {
            name: "type".into(),
            image_uri: "public.ecr.aws/x/y:1".into(),
            registry: Some(RegistryHost::EcrPublic)
        }
    );
    assert_eq!((node.is_stopped, node.logging_level.as_deref()), (false, Some("DEBUG")));
    let port = |container_port, protocol, address: &str, host_port| PortBinding {
        container_port,
        protocol,
        host_address: address.parse().expect("an address"),
        host_port,
    };
    let expected = [
        port(9, Protocol::Sctp, "10.0.0.1", 1),
        port(53, Protocol::Udp, "::1", 5353),
        port(80, Protocol::Tcp, "0.0.0.0", 8080),
    ];
    assert_eq!(node.ports, expected);
    for (source, target) in [
        (MountSource::Anonymous, "/anonymous"),
        (MountSource::Anonymous, "/empty"),
        (MountSource::Volume("volume".into()), "/volume"),
        (MountSource::Bind("/host".into()), "/bind"),
    ] {
        assert!(node.mounts.contains(&Mount { source, target: target.into() }), "{target}");
    }
    let edge = |other: &str, queue: &str| Edge { other: other.into(), queue: queue.into() };
    assert_eq!(node.receive_edges, [edge("s1", "https://q/1"), edge("s2", "https://q/2")]);
    assert!(node.send_edges.is_empty());
    let message_type = MessageType { name: "in".into(), auditor: "def auditor(): ...".into() };
    assert_eq!((node.receive_message_type.as_ref(), node.send_message_type.as_ref()), (Some(&message_type), None));
}

#[test]
fn the_order_of_lists_on_the_wire_does_not_matter() {
    let mut turned = node();
    for list in ["mounts", "ports", "receiveEdges"] {
        turned[list].as_array_mut().expect("a list").reverse();
    }
    assert_eq!(decode(&answer(json!([node(), receiver()]))), decode(&answer(json!([receiver(), turned]))));
}

#[test]
fn an_absent_app_is_gone_and_an_unknown_type_is_an_error() {
    assert_eq!(decode(&Value::Null), Ok(Snapshot::Gone));
    let external = json!({"__typename": "ExternalApp", "name": "my app"});
    assert_eq!(decode(&external), Err("the app is not a ManagedApp".to_owned()));
}

#[test]
fn a_snapshot_without_a_required_part_is_an_error() {
    let check = |field: &str, value: Value, expected: &str| {
        let mut answer = answer(json!([]));
        *answer.pointer_mut(field).expect(field) = value;
        assert_eq!(decode(&answer), Err(expected.to_owned()), "{field}");
    };
    check("/nodes", Value::Null, "the list of nodes is missing");
    check("/tenant", Value::Null, "the tenant is missing");
    check("/tenant/region", Value::Null, "the tenant's region is missing");
    check("/tenant/region", json!(""), "the tenant's region is missing");
    for region in ["x.evil.example/#", "eu-west-1.evil.example", "evil@eu-west-1", "nowhere"] {
        check("/tenant/region", json!(region), "the tenant's region is not an AWS region");
    }
    check("/tenant/table", Value::Null, "the tenant's table is missing");
    check("/name", json!("other"), "the response is about another app");
    check("/config", json!("x".repeat(TEXT_MAX + 1)), "the app's config is longer than 1048576 bytes");
    check("/nodes", json!(vec![Value::Null; NODES_MAX + 1]), "there are more than 10000 nodes");
}

#[test]
fn a_null_or_nameless_node_makes_the_list_incomplete() {
    for odd in [Value::Null, json!({"__typename": "ManagedNode", "name": null}), with("/name", json!("a\u{7}"))] {
        let app = app_of(&answer(json!([odd, node()])));
        assert_eq!((app.is_complete, app.nodes.len()), (false, 1), "{odd}");
    }
}

#[test]
fn a_node_of_an_unknown_type_is_skipped() {
    let app = app_of(&answer(json!([{"__typename": "QuantumNode", "name": "q"}, node()])));
    assert_eq!((app.is_complete, app.nodes.len(), app.invalid_nodes.len()), (true, 1, 0));
}

#[test]
fn an_app_without_a_change_receiver_is_complete() {
    let mut edgeless = receiver();
    edgeless["receiveEdge"] = Value::Null;
    for nodes in [json!([]), json!([edgeless])] {
        let app = app_of(&answer(nodes));
        assert!(app.is_complete && app.change_receiver.is_none());
    }
}

fn with(field: &str, value: Value) -> Value {
    let mut node = node();
    *node.pointer_mut(field).expect(field) = value;
    node
}

#[test]
fn an_invalid_node_does_not_touch_the_others() {
    let mut other = node();
    other["name"] = json!("b");
    let check = |odd: Value, expected: &str| {
        let app = app_of(&answer(json!([odd, other.clone()])));
        let reasons: Vec<_> = app.invalid_nodes.iter().map(|(name, why)| (name.as_str(), why.as_str())).collect();
        assert_eq!(reasons, [("a", expected)]);
        let good: Vec<_> = app.nodes.keys().map(NodeName::as_str).collect();
        assert_eq!((good, app.is_complete), (vec!["b"], true), "{expected}");
    };
    check(with("/managedNodeType", Value::Null), "its node type is missing");
    check(with("/managedNodeType/imageUri", Value::Null), "the image of its node type is missing");
    check(with("/ports/0/containerPort", json!(0)), "container port 0 is not within 1 to 65535");
    check(with("/ports/0/hostPort", json!(65536)), "host port 65536 is not within 1 to 65535");
    check(with("/ports/0/hostPort", json!(-1)), "host port -1 is not within 1 to 65535");
    check(with("/ports/0/hostPort", Value::Null), "a host port is missing");
    check(with("/ports/0/protocol", json!("quic")), "protocol \"quic\" is not tcp, udp or sctp");
    check(with("/ports/0", Value::Null), "a port is null");
    let network = "host address \"10.0.0.0/8\" is a network; a port needs one address";
    check(with("/ports/0/hostAddress", json!("10.0.0.0/8")), network);
    check(with("/ports/0/hostAddress", json!("here")), "host address \"here\" is not an IP address");
    for many in ["224.0.0.1", "255.255.255.255", "ff02::1"] {
        let expected =
            format!("host address {many} is a multicast or broadcast address; a port needs a unicast address");
        check(with("/ports/0/hostAddress", json!(many)), &expected);
    }
    let target = json!("/x\u{1b}[2J");
    check(with("/mounts/0/target", target), "the target of a mount is too long or holds control characters");
    check(
        with("/managedNodeType/name", json!("t\n")),
        "the name of its node type is too long or holds control characters",
    );
    let many = |part: &Value, count: usize| Value::Array(vec![part.clone(); count]);
    check(with("/ports", many(&node()["ports"][0], 1_001)), "it has more than 1000 ports");
    check(with("/mounts", many(&node()["mounts"][0], 1_001)), "it has more than 1000 mounts");
    check(
        with("/sendEdges", many(&json!({"queue": "q", "target": {"name": "t"}}), 10_001)),
        "it has more than 10000 edges",
    );
    check(with("/mounts/0/target", json!("relative")), "mount target \"relative\" is not an absolute path");
    check(with("/mounts/0/target", Value::Null), "the target of a mount is missing");
    let source = "mount source \"../up\" is neither an absolute path nor a volume name";
    check(with("/mounts/0/source", json!("../up")), source);
    check(with("/receiveMessageType/name", Value::Null), "the name of a message type is missing");
    check(with("/config", json!("x".repeat(TEXT_MAX + 1))), "its config is longer than 1048576 bytes");
}

#[test]
fn a_node_listed_twice_with_different_contents_is_invalid() {
    let app = app_of(&answer(json!([node(), with("/config", json!("{\"other\":1}"))])));
    assert_eq!((app.nodes.len(), app.invalid_nodes.len()), (0, 1));
    let app = app_of(&answer(json!([node(), node()])));
    assert_eq!((app.nodes.len(), app.invalid_nodes.len()), (1, 0));
}
