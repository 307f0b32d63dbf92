"""Waiting: other threads run meanwhile, signal handlers too, and it ends as it should."""

import os
import select
import signal
import threading

import pytest

from pubsub_shared import Gone, Ring


def test_other_threads_run_while_one_waits(ints, in_thread):
    answers = Ring.anonymous("int", 64)
    asked, answered = ints.subscribe(), answers.subscribe()

    def answer():
        for value in asked:
            answers.publish(-value)
            if value == 500:
                return

    in_thread(answer)
    for i in range(1, 501):
        ints.publish(i)
        assert answered.recv() == -i


def test_timeouts(ints):
    sub = ints.subscribe()
    for timeout in (0, 0.001):
        with pytest.raises(TimeoutError):
            sub.recv(timeout=timeout)
        with pytest.raises(TimeoutError):
            sub.recv_many(10, timeout=timeout)
        assert sub.wait(timeout) is False
    ints.publish(1)
    assert sub.wait() and sub.wait(0) and sub.recv(timeout=1e300) == 1
    for wrong in (-1, float("nan"), -float("inf")):
        with pytest.raises(ValueError, match="timeout must be None or at least 0"):
            sub.recv(timeout=wrong)


def test_a_signal_handler_runs_and_may_end_the_wait(ints):
    class Enough(Exception):
        pass

    def handler(*_):
        raise Enough

    sub = ints.subscribe()
    before = signal.signal(signal.SIGALRM, handler)
    try:
        for wait in (sub.recv, sub.wait, sub.recv_many, lambda: next(sub)):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            with pytest.raises(Enough):
                wait()
    finally:
        signal.signal(signal.SIGALRM, before)
    ints.publish(1)
    assert sub.recv() == 1


def test_a_signal_handler_may_publish_what_is_waited_for(ints):
    sub = ints.subscribe()
    seen = []

    def handler(*_):
        with pytest.raises(RuntimeError, match="in use"):
            sub.poll()
        seen.append(1)
        ints.publish(7)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        assert sub.recv() == 7 and seen == [1]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_iteration_ends_when_the_ring_is_gone(path):
    ring = Ring(path, "str", 16)
    sub = ring.subscribe()
    ring.publish_many(["a", "b"])
    ring.unlink()
    assert sub.is_gone() and list(sub) == ["a", "b"] and list(sub) == []
    with pytest.raises(Gone):
        sub.recv()
    with pytest.raises(Gone):
        sub.recv_many()
    assert sub.wait() is False


def test_removal_ends_a_wait_of_another_thread(path, in_thread):
    ring = Ring(path, "int", 16)
    sub, ready = ring.subscribe(), threading.Event()
    received = []

    def read():
        for value in sub:
            received.append(value)
            ready.set()

    thread = in_thread(read)
    ring.publish(1)
    ready.wait()
    ring.unlink()
    thread.join()
    assert received == [1]


def test_the_descriptor_is_readable_while_there_are_messages(ints):
    sub = ints.subscribe()
    poll = select.poll()
    poll.register(sub, select.POLLIN)
    for i in range(50):
        ints.publish(i)
        assert poll.poll() == [(sub.fileno(), select.POLLIN)]
        assert sub.poll() == i
        assert poll.poll(0) == []


def test_a_forked_child_has_its_own_place(ints):
    sub = ints.subscribe()
    ints.publish(1)
    pid = os.fork()
    if pid == 0:
        try:
            fine = sub.recv() == 1 and sub.recv() == 2
            ints.publish(3)
            os._exit(0 if fine else 1)
        finally:
            os._exit(2)
    ints.publish(2)
    assert [sub.recv(), sub.recv(), sub.recv()] == [1, 2, 3]
    assert os.waitpid(pid, 0)[1] == 0
