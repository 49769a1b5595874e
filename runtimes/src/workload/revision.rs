//! The revision of an instance: a digest of everything it read at its start. An instance that runs with another revision
//! than the desired one is stale.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::labels::Difference;

/// The inputs of a revision by name, to report which of them changed. Short values are kept as they are.
/// Configurations, auditors and queues are kept as `#` and eight hex digits of their digest, too few to recover the
/// content.
pub type StartupInputs = BTreeMap<String, String>;

/// Digest of a node's start-time inputs: 32 hex digits. Secrets cannot be recovered from it.
///
/// Two revisions are equal if their digests are; the inputs only explain a difference, and an older state file lacks
/// them.
#[derive(Clone)]
pub struct Revision {
    digest: String,
    inputs: Option<Arc<StartupInputs>>,
}

impl Revision {
    /// A revision of this digest; the inputs may be unknown.
    pub fn new(digest: impl Into<String>, inputs: Option<Arc<StartupInputs>>) -> Self {
        Self { digest: digest.into(), inputs }
    }

    /// Its digest.
    pub fn as_str(&self) -> &str {
        &self.digest
    }

    /// Its inputs, if known.
    pub fn inputs(&self) -> Option<&Arc<StartupInputs>> {
        self.inputs.as_ref()
    }

    /// The inputs in which `newer` differs; empty unless both are known.
    pub fn differences(&self, newer: &Self) -> Vec<Difference> {
        let (Some(before), Some(after)) = (&self.inputs, &newer.inputs) else { return Vec::new() };
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let between = |name: &String| {
            let (before, after) = (before.get(name), after.get(name));
            let text = |value: Option<&String>| value.cloned();
            (before != after).then(|| Difference { field: name.clone(), before: text(before), after: text(after) })
        };
        names.into_iter().filter_map(between).collect()
    }
}

impl PartialEq for Revision {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Revision {}

impl Hash for Revision {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revision({:?})", self.digest)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.digest[..self.digest.len().min(8)])
    }
}
