"""Opening, closing, and what is wrong with either."""

import os
import stat
import threading

import pytest

import pubsub_shared
from pubsub_shared import Incompatible, PubSubError, Ring


def test_a_ring_is_created_once_and_found_by_its_path(path):
    with Ring(path, "str", 100, message_size=10, publishers=3, mode=0o640) as ring:
        assert (ring.kind, ring.capacity, ring.message_size) == ("str", 128, 10)
        assert (ring.path, ring.read_only, ring.closed) == (str(path), False, False)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        stats = ring.stats()
        assert (stats["capacity"], stats["publishers"], stats["published"]) == (128, 3, 0)
        for again in (Ring(str(path)), Ring(os.fsencode(path)), Ring(path, "str", 5), Ring(path, "str")):
            assert (again.kind, again.capacity) == ("str", 128)
    assert ring.closed


def test_wrong_arguments_are_named(path, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        Ring(path)
    assert str(path) in str(error.value)
    with pytest.raises(FileNotFoundError):
        Ring(tmp_path / "nowhere" / "ring", "int", 8)
    with pytest.raises(TypeError, match="kind is required"):
        Ring(path, capacity=8)
    with pytest.raises(ValueError, match="capacity is required"):
        Ring(path, "int")
    with pytest.raises(ValueError, match="kind must be one of int, int32, int16, float, str"):
        Ring(path, "double", 8)
    for capacity in (2**31 + 1, 2**63):
        with pytest.raises(ValueError, match=str(capacity)):
            Ring(path, "int", capacity)
    for capacity in (-1, 2**64):
        with pytest.raises(OverflowError):
            Ring(path, "int", capacity)
    with pytest.raises(ValueError):
        Ring.anonymous("int", 0)
    with pytest.raises(ValueError, match="NUL"):
        Ring.memfd("a\0b", "int", 8)
    assert not path.exists()

    path.write_bytes(b"no ring" * 1000)
    with pytest.raises(Incompatible):
        Ring(path)
    assert issubclass(Incompatible, PubSubError) and path.stat().st_size == 7000
    other = tmp_path / "other"
    Ring(other, "int", 8)
    with pytest.raises(Incompatible):
        Ring(other, "str", 8)
    os.symlink(other, tmp_path / "link")
    with pytest.raises(OSError):
        Ring(tmp_path / "link")


def test_a_read_only_ring_reads(path):
    ring = Ring(path, "int", 8)
    path.chmod(0o444)
    looking = Ring.open_read_only(path)
    sub = looking.subscribe(oldest=True)
    ring.publish(1)
    assert looking.read_only and sub.recv() == 1
    for call in (lambda: looking.publish(1), looking.clear, lambda: looking.publish_many([])):
        with pytest.raises(ValueError, match="read-only"):
            call()


def test_a_memfd_is_passed_on(path):
    ring = Ring.memfd("ticks", "int16", 8)
    other = Ring.from_fd(ring.fileno())
    ring.publish(5)
    assert other.kind == "int16" and other.path is None and other.subscribe(oldest=True).poll() == 5
    with pytest.raises(ValueError, match="no descriptor"):
        Ring.anonymous("int", 8).fileno()
    with pytest.raises(ValueError, match="fd must not be negative"):
        Ring.from_fd(-1)
    with pytest.raises(OSError):
        Ring.from_fd(1_000_000)
    with open(path, "wb+") as file:
        with pytest.raises(Incompatible):
            Ring.from_fd(file.fileno())


def test_closed_handles_say_so(ints):
    sub = ints.subscribe()
    with sub as same:
        assert same is sub
    ints.publish(1)
    ints.close()
    ints.close()
    for call in (lambda: ints.publish(1), lambda: ints.capacity, ints.subscribe, ints.stats, ints.__enter__, ints.unlink):
        with pytest.raises(ValueError, match="this ring is closed"):
            call()
    for call in (sub.poll, sub.recv, lambda: sub.lag, sub.fileno, sub.__enter__, lambda: next(sub), sub.is_gone):
        with pytest.raises(ValueError, match="this subscriber is closed"):
            call()
    assert ints.closed and sub.closed and "closed" in repr(ints) and "closed" in repr(sub)


def test_a_subscriber_outlives_its_ring(ints):
    sub = ints.subscribe()
    ints.publish(1)
    ints.close()
    assert sub.recv() == 1


def test_a_subscriber_in_use_says_so(ints, in_thread):
    sub, waiting = ints.subscribe(), threading.Event()

    def wait():
        waiting.set()
        assert sub.recv() == 1

    in_thread(wait)
    waiting.wait()
    while True:  # until the other thread is in the call
        try:
            assert sub.lag == 0
        except RuntimeError as error:
            assert "in use" in str(error)
            break
    with pytest.raises(RuntimeError, match="in use"):
        sub.close()
    assert "in use" in repr(sub)
    ints.publish(1)


def test_removed_and_replaced(path):
    ring = Ring(path, "int", 8)
    sub = ring.subscribe()
    with pytest.raises(ValueError, match="no path"):
        Ring.anonymous("int", 8).unlink()
    ring.unlink()
    ring.unlink()
    assert ring.is_gone() and sub.is_gone() and not path.exists()
    with pytest.raises(FileNotFoundError):
        ring.reopen()
    next_one = Ring(path, "int", 8)
    next_one.publish(3)
    ring.reopen()
    sub.reopen()
    assert sub.recv() == 3 and not ring.is_gone() and ring.write_position == 1
    pubsub_shared.unlink(path)
    pubsub_shared.unlink(path)
    Ring(path, "str", 8)
    with pytest.raises(Incompatible, match="ring of str now"):
        ring.reopen()


def test_nothing_is_left_open(path):
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    before = descriptors(), threading.active_count()
    for _ in range(20):
        with Ring(path, "str", 8) as ring, ring.subscribe() as sub:
            sub.fileno()
            ring.publish("x")
    assert (descriptors(), threading.active_count()) == before


def test_handles_cannot_be_made_by_hand():
    with pytest.raises(TypeError):
        pubsub_shared.Subscriber()
    with pytest.raises(TypeError):
        type("Mine", (Ring,), {})
