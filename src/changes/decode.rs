//! Converts the body of an `echo.change` message to a [`Change`]. Pure. Unknown fields are ignored: the cloud may add
//! some.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::{Change, NodeName};

/// The result of decoding a message body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A change that concerns this app.
    Change(Change),
    /// Valid, but without effect on this app; the reason.
    Ignored(&'static str),
    /// A change of an unknown type of object; the type.
    Unknown(String),
    /// Not an `echo.change`; the reason.
    Malformed(&'static str),
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    new: Option<Map<String, Value>>,
    #[serde(default)]
    old: Option<Map<String, Value>>,
}

/// The object before and after a change.
struct Sides {
    /// The object after the change; absent after a removal.
    new: Option<Map<String, Value>>,
    /// The object before it; absent for a creation.
    old: Option<Map<String, Value>>,
    /// The removed object, if the removal has the form `new.removed`.
    removed: Option<Map<String, Value>>,
}

/// Reads a message body; `app` is the name of this app.
pub fn decode(body: &str, app: &str) -> Decoded {
    let Ok(body) = serde_json::from_str::<Body>(body) else {
        return Decoded::Malformed("not a JSON object with objects new and old");
    };
    let sides = Sides::of(body);
    match sides.object_type() {
        Err(reason) => Decoded::Malformed(reason),
        Ok(object_type) => sides.decode(&object_type, app).unwrap_or_else(Decoded::Malformed),
    }
}

impl Sides {
    fn of(body: Body) -> Self {
        let is_removed = body.new.as_ref().and_then(|new| new.get("removed")).and_then(Value::as_bool) == Some(true);
        let (new, removed) = if is_removed { (None, body.new) } else { (body.new, None) };
        Self { new, old: body.old, removed }
    }

    /// The type, which must be the same on both sides.
    fn object_type(&self) -> Result<String, &'static str> {
        let mut types = self.objects().map(|object| object.get("type").and_then(Value::as_str));
        let first = types.next().ok_or("neither new nor old")?.ok_or("the type is missing")?;
        if types.all(|other| other == Some(first)) { Ok(first.to_owned()) } else { Err("new and old differ in type") }
    }

    fn objects(&self) -> impl Iterator<Item = &Map<String, Value>> {
        [&self.new, &self.removed, &self.old].into_iter().flatten()
    }

    /// A text attribute by its newest value.
    fn text(&self, name: &str) -> Option<&str> {
        self.objects().find_map(|object| object.get(name).and_then(Value::as_str))
    }

    fn is_creation(&self) -> bool {
        self.new.is_some() && self.old.is_none()
    }

    fn is_removal(&self) -> bool {
        self.new.is_none()
    }

    /// Whether an attribute changed; true without an old value.
    fn differs(&self, name: &str) -> bool {
        let old = self.old.as_ref().and_then(|old| old.get(name));
        old.is_none() || old != self.new.as_ref().and_then(|new| new.get(name))
    }

    fn decode(&self, object_type: &str, app: &str) -> Result<Decoded, &'static str> {
        match object_type {
            "Tenant" if self.is_creation() => Ok(Decoded::Ignored("tenant created")),
            // The removal of a tenant removes its apps: the next snapshot shows it.
            "Tenant" => Ok(Decoded::Change(Change::Tenant)),
            "ManagedApp" => self.app(app),
            "ManagedNode" => self.node(app),
            // Also with the same image URI: its tag may have moved, which a pull detects.
            "ManagedNodeType" => self.definition(Change::NodeType),
            "MessageType" if !self.is_removal() && !self.differs("auditor") => {
                Ok(Decoded::Ignored("auditor unchanged"))
            }
            "MessageType" => self.definition(Change::MessageType),
            "Edge" => self.edge(),
            other => Ok(Decoded::Unknown(other.to_owned())),
        }
    }

    fn app(&self, app: &str) -> Result<Decoded, &'static str> {
        if self.text("name").ok_or("the name of an app is missing")? != app {
            return Ok(Decoded::Ignored("another app"));
        }
        Ok(match (self.is_creation(), self.is_removal()) {
            (true, _) => Decoded::Ignored("app created"),
            (_, true) => Decoded::Change(Change::AppRemoved),
            _ => Decoded::Change(Change::App),
        })
    }

    fn node(&self, app: &str) -> Result<Decoded, &'static str> {
        if self.text("app").ok_or("the app of a node is missing")? != app {
            return Ok(Decoded::Ignored("a node of another app"));
        }
        let name = self.text("name").ok_or("the name of a node is missing")?;
        let name = NodeName::new(name).map_err(|_| "the name of a node is not valid")?;
        Ok(Decoded::Change(if self.is_removal() { Change::NodeRemoved(name) } else { Change::Node(name) }))
    }

    /// A node type or message type. A removed one had no users.
    fn definition(&self, change: impl FnOnce(String) -> Change) -> Result<Decoded, &'static str> {
        let name =
            self.text("name").filter(|name| is_name(name)).ok_or("the name of a type is missing or not valid")?;
        Ok(match self.is_removal() {
            true => Decoded::Ignored("type removed"),
            false => Decoded::Change(change(name.to_owned())),
        })
    }

    /// Both ends of both sides: a moved edge affects up to four nodes.
    fn edge(&self) -> Result<Decoded, &'static str> {
        let mut ends: Vec<NodeName> = Vec::new();
        for object in self.objects() {
            for end in ["source", "target"] {
                let name = object.get(end).and_then(Value::as_str).ok_or("an end of an edge is missing")?;
                let name = NodeName::new(name).map_err(|_| "an end of an edge is not a valid name")?;
                if !ends.contains(&name) {
                    ends.push(name);
                }
            }
        }
        Ok(Decoded::Change(Change::Edge(ends)))
    }
}

/// Names of types follow the rules for nodes.
fn is_name(name: &str) -> bool {
    NodeName::new(name).is_ok()
}

#[cfg(test)]
mod tests;
