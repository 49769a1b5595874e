//! Corrupts responses of AppSync on request: an app that seems removed, nodes that are null. Only responses that list
//! the nodes of the app are changed, so credentials are still issued.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

/// The defect of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MalformedResponse {
    /// `GetApp` is null although the app exists.
    AppNull,
    /// The first managed node is null, without any error.
    NodeNull,
    /// The first managed node is null, and an error says so: partial data.
    NodeFailed,
    /// No data at all, only an error; HTTP 200.
    OnlyErrors,
}

/// Number of responses of each kind that are still to be corrupted.
#[derive(Default)]
pub(in crate::cloud) struct MalformedResponses(Mutex<BTreeMap<MalformedResponse, usize>>);

impl MalformedResponses {
    pub(in crate::cloud) fn next(&self, how: MalformedResponse, times: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(how, times);
    }

    pub(super) fn apply(&self, body: &mut Value) {
        if !body["data"]["GetApp"]["nodes"].is_array() {
            return;
        }
        if let Some(how) = self.take() {
            apply(how, body);
        }
    }

    fn take(&self) -> Option<MalformedResponse> {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (how, times) = left.iter_mut().find(|(_, times)| **times > 0)?;
        *times -= 1;
        Some(*how)
    }
}

fn apply(how: MalformedResponse, body: &mut Value) {
    match how {
        MalformedResponse::AppNull => body["data"]["GetApp"] = Value::Null,
        MalformedResponse::NodeNull => lose_node(body),
        MalformedResponse::NodeFailed => {
            lose_node(body);
            body["errors"] = json!([error(json!(["GetApp", "nodes", FIRST_MANAGED]))]);
        }
        MalformedResponse::OnlyErrors => *body = json!({"data": null, "errors": [error(json!(["GetApp"]))]}),
    }
}

/// The change receiver is first.
const FIRST_MANAGED: usize = 1;

fn lose_node(body: &mut Value) {
    if let Some(node) = body["data"]["GetApp"]["nodes"].get_mut(FIRST_MANAGED) {
        *node = Value::Null;
    }
}

fn error(path: Value) -> Value {
    json!({
        "path": path, "data": null, "errorType": "Lambda:Unhandled", "errorInfo": null,
        "locations": [{"line": 1, "column": 1, "sourceName": null}], "message": "failed on purpose",
    })
}
