"""Waiting in tests: for a condition, with an end, instead of for a time."""

import time


def wait_until(condition, what, timeout=120):
    """Return what a condition gives, once that is true; fail after the time-out."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.01)
    return found
