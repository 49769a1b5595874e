//! Tests of each row of the contract's table of changes, and of other messages.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const APP: &str = "my app";

fn check(new: Value, old: Value, expected: Decoded) {
    let body = json!({
        "datetime": "2026-11-22T19:17:00Z",
        "lastModified": {"at": "2026-11-22T19:17:00Z", "by": "someone"},
        "new": new, "old": old, "system": false, "tenant": "t", "later": {"addition": 1},
    });
    assert_eq!(decode(&body.to_string(), APP), expected, "{body}");
}

fn change(change: Change) -> Decoded {
    Decoded::Change(change)
}

fn name(name: &str) -> NodeName {
    NodeName::new(name).expect("a valid name")
}

#[test]
fn tenant() {
    let tenant = json!({"type": "Tenant", "name": "t"});
    check(tenant.clone(), tenant.clone(), change(Change::Tenant));
    check(tenant.clone(), Value::Null, Decoded::Ignored("tenant created"));
    check(Value::Null, tenant, change(Change::Tenant));
}

#[test]
fn app() {
    let app = |name: &str| json!({"type": "ManagedApp", "name": name, "config": "{}"});
    check(app(APP), Value::Null, Decoded::Ignored("app created"));
    check(app(APP), app(APP), change(Change::App));
    check(Value::Null, app(APP), change(Change::AppRemoved));
    let mut removed = app(APP);
    removed["removed"] = json!(true);
    check(removed.clone(), Value::Null, change(Change::AppRemoved));
    check(removed, app(APP), change(Change::AppRemoved));
    check(app("other"), app("other"), Decoded::Ignored("another app"));
    check(Value::Null, app("other"), Decoded::Ignored("another app"));
    check(json!({"type": "ManagedApp"}), Value::Null, Decoded::Malformed("the name of an app is missing"));
}

#[test]
fn node() {
    let node = |app: &str, name: &str| json!({"type": "ManagedNode", "app": app, "name": name});
    check(node(APP, "a: b"), Value::Null, change(Change::Node(name("a: b"))));
    check(node(APP, "a"), node(APP, "a"), change(Change::Node(name("a"))));
    check(Value::Null, node(APP, "a"), change(Change::NodeRemoved(name("a"))));
    let mut removed = node(APP, "a");
    removed["removed"] = json!(true);
    check(removed, Value::Null, change(Change::NodeRemoved(name("a"))));
    let mut not_removed = node(APP, "a");
    not_removed["removed"] = json!(false);
    check(not_removed, Value::Null, change(Change::Node(name("a"))));
    check(node("other", "a"), Value::Null, Decoded::Ignored("a node of another app"));
    check(node(APP, "a\nb"), Value::Null, Decoded::Malformed("the name of a node is not valid"));
    check(node(APP, ""), Value::Null, Decoded::Malformed("the name of a node is not valid"));
    let nameless = json!({"type": "ManagedNode", "app": APP});
    check(nameless, Value::Null, Decoded::Malformed("the name of a node is missing"));
    let appless = json!({"type": "ManagedNode", "name": "a"});
    check(appless, Value::Null, Decoded::Malformed("the app of a node is missing"));
}

#[test]
fn node_type_and_message_type() {
    // The tag of an image may have moved, so the URI is not compared.
    let same_type = change(Change::NodeType("n".to_owned()));
    let same_auditor = Decoded::Ignored("auditor unchanged");
    for (kind, attribute, unchanged) in
        [("ManagedNodeType", "imageUri", same_type), ("MessageType", "auditor", same_auditor)]
    {
        let made = if kind == "MessageType" { Change::MessageType } else { Change::NodeType };
        let object = |value: &str| json!({"type": kind, "name": "n", attribute: value, "readme": value.len()});
        check(object("new"), object("old"), change(made("n".to_owned())));
        check(object("same"), object("same"), unchanged);
        check(object("new"), Value::Null, change(made("n".to_owned())));
        check(object("new"), json!({"type": kind, "name": "n"}), change(made("n".to_owned())));
        check(Value::Null, object("old"), Decoded::Ignored("type removed"));
        let nameless = json!({"type": kind});
        check(nameless, Value::Null, Decoded::Malformed("the name of a type is missing or not valid"));
    }
}

#[test]
fn edge() {
    let edge = |source: &str, target: &str| json!({"type": "Edge", "source": source, "target": target});
    let ends = |names: &[&str]| change(Change::Edge(names.iter().copied().map(name).collect()));
    check(edge("a", "b"), Value::Null, ends(&["a", "b"]));
    check(Value::Null, edge("a", "b"), ends(&["a", "b"]));
    check(edge("a", "b"), edge("a", "b"), ends(&["a", "b"]));
    check(edge("c", "b"), edge("a", "b"), ends(&["c", "b", "a"]));
    check(edge("c", "d"), edge("a", "b"), ends(&["c", "d", "a", "b"]));
    check(edge("a", "a"), Value::Null, ends(&["a"]));
    let mut removed = edge("a", "b");
    removed["removed"] = json!(true);
    check(removed, Value::Null, ends(&["a", "b"]));
    check(json!({"type": "Edge", "source": "a"}), Value::Null, Decoded::Malformed("an end of an edge is missing"));
}

#[test]
fn others() {
    check(json!({"type": "ProcessorNode", "name": "p"}), Value::Null, Decoded::Unknown("ProcessorNode".to_owned()));
    check(Value::Null, Value::Null, Decoded::Malformed("neither new nor old"));
    check(json!({"name": "x"}), Value::Null, Decoded::Malformed("the type is missing"));
    check(json!({"type": 7}), Value::Null, Decoded::Malformed("the type is missing"));
    check(json!({"type": "Edge"}), json!({"type": "Tenant"}), Decoded::Malformed("new and old differ in type"));
    let malformed = Decoded::Malformed("not a JSON object with objects new and old");
    check(json!("text"), Value::Null, malformed.clone());
    for body in ["", "[]x", "null", "{", "7", "\u{0}", &"[".repeat(100_000)] {
        assert_eq!(decode(body, APP), malformed, "{body:.20}");
    }
}

/// Objects with the attributes that are read, of all JSON types.
fn any_object() -> impl Strategy<Value = Value> {
    let types = ["Tenant", "ManagedApp", "ManagedNode", "ManagedNodeType", "MessageType", "Edge", "Other"];
    let any_value = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(json!(APP)),
        Just(json!({"name": "n"})),
        Just(json!(["n"])),
    ];
    let keys = ["app", "name", "source", "target", "imageUri", "auditor", "removed", "type"];
    let attributes = prop::collection::btree_map(prop::sample::select(keys.to_vec()), any_value, 0..8);
    let object = (prop::sample::select(types.to_vec()), attributes).prop_map(|(object_type, attributes)| {
        let mut object = json!({ "type": object_type });
        for (key, value) in attributes {
            object[key] = value;
        }
        object
    });
    prop_oneof![1 => Just(Value::Null), 6 => object]
}

proptest! {
    #[test]
    fn no_message_body_panics_the_decoder(body in any::<String>()) {
        prop_assert!(matches!(decode(&body, APP), Decoded::Malformed(_)));
    }

    #[test]
    fn each_decoded_change_has_valid_names(new in any_object(), old in any_object()) {
        let body = json!({"new": new, "old": old}).to_string();
        if let Decoded::Change(change) = decode(&body, APP) {
            prop_assert!(!change.to_string().chars().any(char::is_control), "{change}");
            prop_assert_eq!(decode(&body, APP), Decoded::Change(change));
        }
    }
}
