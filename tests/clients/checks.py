"""Checks are functions whose names are statements. The Rust test receives one line per result."""

import sys
import traceback
from collections.abc import Callable

from botocore.exceptions import ClientError

Check = Callable[[], None]
_checks: list[tuple[Check, str]] = []


class HttpRefusal(Exception):
    """A rejection by a service that does not use the error format of AWS."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code


def check(function: Check) -> Check:
    """Marks a function that returns when its statement is true."""
    _checks.append((function, "yes"))
    return function


def refused(status: int, code: str) -> Callable[[Check], Check]:
    """Marks a function whose call is rejected with this HTTP status and error code."""

    def mark(function: Check) -> Check:
        def is_refused() -> None:
            try:
                function()
            except ClientError as error:
                response = error.response
                found = response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]
            except HttpRefusal as refusal:
                found = refusal.status, refusal.code
            else:
                raise AssertionError("nothing was refused")
            assert found == (status, code), f"refused with {found}"

        is_refused.__name__ = function.__name__
        _checks.append((is_refused, f"{status} {code}"))
        return function

    return mark


def switch(what: str) -> None:
    """Requests an action on the cloud from the Rust test, which no client can do."""
    print(f"do {what}", flush=True)
    assert sys.stdin.readline() == "done\n", "the test must answer"


def run() -> None:
    """Runs all checks in the order of the script; exits with 1 if one failed."""
    failed = False
    for function, agrees in _checks:
        try:
            function()
        except Exception:
            failed = True
            print(f"FAILED {function.__name__}\n{traceback.format_exc()}", flush=True)
        else:
            print(f"ok {function.__name__} {agrees}", flush=True)
    sys.exit(failed)
