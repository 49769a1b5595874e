//! The rules of one queue, with controlled time.
use super::*;
use crate::cloud::sqs::message::Attributes;

const HIDDEN: Duration = Duration::from_secs(30);

fn at(start: Instant, seconds: u64) -> Moment {
    Moment { instant: start + Duration::from_secs(seconds), unix_ms: i128::from(seconds) * 1000 }
}

fn draft(group: &str, id: &str) -> Draft {
    Draft { body: id.into(), attributes: Attributes::new(), group: group.into(), deduplication_id: id.into() }
}

fn bodies(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| delivery.message.draft.body.as_str()).collect()
}

fn queue(messages: &[(&str, &str)]) -> (Queue, Instant) {
    let start = Instant::now();
    let mut queue = Queue::new("q.fifo", at(start, 0));
    for (group, id) in messages {
        queue.send(draft(group, id), at(start, 0));
    }
    (queue, start)
}

#[test]
fn one_call_may_give_several_messages_of_a_group_in_order() {
    let (mut queue, start) = queue(&[("a", "1"), ("b", "2"), ("a", "3")]);
    assert_eq!(bodies(&queue.receive(10, HIDDEN, at(start, 0))), ["1", "2", "3"]);
    assert!(queue.receive(10, HIDDEN, at(start, 1)).is_empty());
    assert_eq!(queue.next_return(start), Some(start + HIDDEN));
}

#[test]
fn a_group_stays_locked_while_any_of_it_is_in_flight() {
    let (mut queue, start) = queue(&[("a", "1"), ("a", "2"), ("a", "3")]);
    let first = queue.receive(2, HIDDEN, at(start, 0));
    queue.delete(&first[0].receipt, start).expect("in flight");
    assert!(queue.receive(10, HIDDEN, at(start, 1)).is_empty(), "2 is still out");
    queue.delete(&first[1].receipt, start).expect("in flight");
    assert_eq!(bodies(&queue.receive(10, HIDDEN, at(start, 1))), ["3"]);
}

#[test]
fn a_redelivered_message_keeps_its_position_and_counts() {
    let (mut queue, start) = queue(&[("a", "1"), ("a", "2")]);
    let first = queue.receive(1, HIDDEN, at(start, 0));
    let again = queue.receive(10, HIDDEN, at(start, 30));
    assert_eq!(bodies(&again), ["1", "2"]);
    assert_eq!(again[0].message.receive_count, 2);
    assert_eq!(again[0].message.first_received_ms, first[0].message.first_received_ms);
    assert!(queue.delete(&first[0].receipt, at(start, 31).instant).is_err(), "the older receipt has expired");
}

#[test]
fn an_id_is_remembered_for_five_minutes_even_after_deletion() {
    let (mut queue, start) = queue(&[("a", "1")]);
    let first = queue.receive(1, HIDDEN, at(start, 0));
    queue.delete(&first[0].receipt, start).expect("in flight");
    assert_eq!(queue.send(draft("a", "1"), at(start, 299)).0, first[0].message.id);
    assert_eq!(queue.pending(), 0);
    assert_ne!(queue.send(draft("a", "1"), at(start, 300)).0, first[0].message.id);
    assert_eq!(queue.pending(), 1);
}

#[test]
fn receipts_are_distinguished() {
    let (mut queue, start) = queue(&[("a", "1")]);
    let first = queue.receive(1, HIDDEN, at(start, 0));
    let foreign = receipt::encode("other.fifo", &first[0].message.id, 1);
    for bad in ["", "garbage", &foreign] {
        assert_eq!(queue.delete(bad, start), Err(SqsError::bad_receipt(bad)));
    }
    assert_eq!(queue.delete(&first[0].receipt, start), Ok(()));
    assert_eq!(queue.delete(&first[0].receipt, start), Ok(()), "deleting twice succeeds");
}
