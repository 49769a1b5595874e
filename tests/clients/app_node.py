"""A node as its authors write it, with EchoStream's library. It runs on the fake cloud without changes."""

import os
from threading import Event

from echostream_node.threading import AppNode, Message

import cloud
from checks import check, run, switch

handled = Event()


class Node(AppNode):
    """Forwards the messages that it receives."""

    def __init__(self) -> None:
        super().__init__(name=cloud.NODE)
        self.received: list[tuple[str, str]] = []

    @property
    def auditaudit(self) -> bool:
        """Release 0.3.18 reads this name of a sending node by mistake and cannot start the node without it."""
        return self.audit

    def handle_received_message(self, *, message: Message, source: str) -> None:
        self.received.append((source, message.body))
        self.audit_message(message, source=source)
        self.send_message(self.create_message(f"handled {message.body}", previous_tracking_ids=[message.tracking_id]))
        handled.set()


node = Node()


@check
def an_app_node_starts() -> None:
    node.start()
    assert node.app == cloud.APP and node.node_type == "ManagedNode" and node.audit
    assert {edge.name for edge in node.sources | node.targets} == {cloud.OUTSIDE}


@check
def it_receives_deletes_audits_and_hands_on_a_message() -> None:
    switch("send_to_node")
    assert handled.wait(30), "nothing was received"
    assert node.received == [(cloud.OUTSIDE, "hello")]
    # The test waits for the queues and audit records on the other side.
    switch("see_that_it_was_handled")


try:
    run()
except SystemExit as end:
    # Any other exit would wait for the pending long poll.
    os._exit(int(end.code or 0))
