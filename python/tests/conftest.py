"""What the tests share: rings in a directory of their own, threads, and a watchdog instead of timed assertions."""

import faulthandler
import threading

import pytest

from pubsub_shared import Ring

WATCHDOG = 120


@pytest.fixture(autouse=True)
def watchdog():
    faulthandler.dump_traceback_later(WATCHDOG, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "test.ring"


@pytest.fixture
def ints():
    return Ring.anonymous("int", 64)


@pytest.fixture
def strs():
    return Ring.anonymous("str", 64, message_size=100)


@pytest.fixture
def in_thread():
    """Runs functions in threads, and fails with them."""
    threads, failures = [], []

    def start(function, *arguments):
        def run():
            try:
                function(*arguments)
            except BaseException as failure:
                failures.append(failure)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        threads.append(thread)
        return thread

    yield start
    for thread in threads:
        thread.join()
    assert failures == []
