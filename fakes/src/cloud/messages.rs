//! Change messages: their bodies, and the outbox that sends them to the change receiver's queue. Tests can delay,
//! duplicate, reorder or drop them.

mod objects;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use super::sqs::{FifoQueues, Outgoing};
use super::state::Edge;
use super::{World, random_hex};

pub(super) use objects::{app_object, edge_object, message_type_object, node_object, node_type_object, tenant_object};

/// The author of changes in messages.
const CHANGED_BY: &str = "someone@example.com";
const DATE_TIME: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// One change: the object before and after it, each with its `type`.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Before; `None` when it was created.
    pub old: Option<Value>,
    /// After; `None` when it was removed.
    pub new: Option<Value>,
}

impl Change {
    /// A new object.
    pub fn created(new: Value) -> Self {
        Self { old: None, new: Some(new) }
    }

    /// A removed object.
    pub fn removed(old: Value) -> Self {
        Self { old: Some(old), new: None }
    }

    /// A changed object.
    pub fn updated(old: Value, new: Value) -> Self {
        Self { old: Some(old), new: Some(new) }
    }
}

/// Form of a removal message; the cloud uses both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RemovalForm {
    /// `old` alone.
    #[default]
    OldOnly,
    /// `old`, and `new` with `removed: true`.
    NewRemoved,
}

/// The messages of one command.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Tracking ids in the order of sending.
    pub tracking_ids: Vec<String>,
    /// When the last of them becomes receivable; `None` while none is (dropped, late or held back).
    pub receivable_at: Option<Instant>,
}

/// Sends change messages.
pub(super) struct Outbox {
    queues: FifoQueues,
    switches: Mutex<Switches>,
}

#[derive(Default)]
struct Switches {
    removal_form: RemovalForm,
    drop_next: usize,
    double_next: usize,
    delay_next: (usize, Duration),
    swap_next: usize,
    held: Vec<(String, Outgoing)>,
}

impl Outbox {
    pub(super) fn new(queues: FifoQueues) -> Self {
        Self { queues, switches: Mutex::default() }
    }

    /// The body of the message for a change.
    pub(super) fn body(&self, world: &World, change: Change) -> String {
        let mut change = change;
        if change.new.is_none() && self.lock().removal_form == RemovalForm::NewRemoved {
            change.new = change.old.clone().map(|mut new| {
                new["removed"] = json!(true);
                new
            });
        }
        let at = date_time(OffsetDateTime::now_utc());
        let mut body = json!({
            "datetime": at, "lastModified": {"at": at, "by": CHANGED_BY}, "system": false, "tenant": world.tenant.name,
        });
        for (key, object) in [("old", change.old), ("new", change.new)] {
            if let Some(object) = object {
                body[key] = object;
            }
        }
        body.to_string()
    }

    /// Sends bodies in order. Returns when the last one that is not dropped, late or held back can be received.
    pub(super) fn send(&self, edge: &Edge, bodies: Vec<String>) -> Sent {
        let mut sent = Sent { tracking_ids: Vec::new(), receivable_at: None };
        for body in bodies {
            let message = envelope(edge, body);
            sent.tracking_ids.push(message.attributes["trackingId"].clone());
            if self.dispatch(&edge.queue, message) {
                sent.receivable_at = Some(Instant::now());
            }
        }
        sent
    }

    pub(super) fn set_removal_form(&self, form: RemovalForm) {
        self.lock().removal_form = form;
    }

    pub(super) fn drop_next(&self, times: usize) {
        self.lock().drop_next = times;
    }

    pub(super) fn double_next(&self, times: usize) {
        self.lock().double_next = times;
    }

    pub(super) fn delay_next(&self, times: usize, delay: Duration) {
        self.lock().delay_next = (times, delay);
    }

    pub(super) fn swap_next(&self, count: usize) {
        self.lock().swap_next = count;
    }

    /// Sends one message; returns whether it can be received now.
    fn dispatch(&self, queue: &str, message: Outgoing) -> bool {
        let mut switches = self.lock();
        if take(&mut switches.drop_next) {
            return false;
        }
        if take(&mut switches.delay_next.0) {
            let (queues, queue, delay) = (self.queues.clone(), queue.to_owned(), switches.delay_next.1);
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                queues.send(&queue, message);
            });
            return false;
        }
        if switches.swap_next > 0 {
            return self.hold_back(&mut switches, queue, message);
        }
        if take(&mut switches.double_next) {
            self.queues.send(queue, Outgoing { deduplication_id: random_hex::<16>(), ..message.clone() });
        }
        self.queues.send(queue, message);
        true
    }

    /// Holds messages until the last one to be reordered arrives, then sends all in reverse order.
    fn hold_back(&self, switches: &mut Switches, queue: &str, message: Outgoing) -> bool {
        switches.held.push((queue.to_owned(), message));
        switches.swap_next -= 1;
        if switches.swap_next > 0 {
            return false;
        }
        for (queue, message) in std::mem::take(&mut switches.held).into_iter().rev() {
            self.queues.send(&queue, message);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Switches> {
        // The switches are counters: consistent after every statement.
        self.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A time in the cloud's format.
pub(super) fn date_time(at: OffsetDateTime) -> String {
    at.format(DATE_TIME).expect("all parts are there")
}

fn envelope(edge: &Edge, body: String) -> Outgoing {
    let tracking_id = random_hex::<16>();
    let previous = json!([random_hex::<16>()]).to_string();
    Outgoing {
        body,
        attributes: BTreeMap::from([
            ("trackingId".to_owned(), tracking_id.clone()),
            ("prevTrackingIds".to_owned(), previous),
        ]),
        group: edge.source.replace(' ', "_"),
        deduplication_id: tracking_id,
    }
}

fn take(counter: &mut usize) -> bool {
    let any = *counter > 0;
    *counter = counter.saturating_sub(1);
    any
}
