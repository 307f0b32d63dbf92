"""Receiving less than everything: by prefix, or the newest alone; and stamps."""

import os
import time

import pytest

from pubsub_shared import Ring


@pytest.mark.parametrize("prefix", ["a/", b"a/", bytearray(b"a/"), ["x", "a/"], ("a/",), iter([b"a/"])])
def test_only_what_begins_with_a_prefix_comes(strs, prefix):
    sub = strs.subscribe(prefix=prefix)
    strs.publish_many(["b/1", "a/1", b"a/2", "b/2"])
    assert sub.poll_many() == ["a/1", b"a/2"]
    assert (sub.filtered, sub.lost, sub.lag) == (2, 0, 0)


def test_prefixes_can_be_changed_and_lifted(strs):
    sub = strs.subscribe(prefix="a")
    strs.publish_many(["b", "a"])
    assert sub.recv() == "a"
    sub.set_prefixes("é")
    strs.publish_many(["a", "été", "été".encode("latin-1"), "e"])
    assert sub.poll_many() == ["été", "été".encode("latin-1")]
    sub.set_prefixes([])
    strs.publish("b")
    assert sub.recv() == "b"


def test_what_is_not_wanted_does_not_end_a_wait(strs, in_thread):
    sub = strs.subscribe(prefix="yes")
    strs.publish_many(["no"] * 10)
    assert sub.wait(0.001) is False

    def publish():
        strs.publish_many(["no"] * 10)
        strs.publish("yes")

    in_thread(publish)
    assert sub.recv() == "yes"


def test_wrong_prefixes(ints, strs):
    with pytest.raises(ValueError, match="carries integers"):
        ints.subscribe(prefix="a")
    for wrong in (1, [1], object()):
        with pytest.raises(TypeError):
            strs.subscribe(prefix=wrong)
    # None of them stands in the table.
    assert ints.readers() == strs.readers() == []


@pytest.mark.parametrize("kind", ["int", "float", "str"])
def test_latest(kind):
    make = {"int": int, "float": float, "str": str}[kind]
    ring = Ring.anonymous(kind, 4)
    sub = ring.subscribe(strict=True)
    assert sub.latest() is None
    ring.publish_many(map(make, range(3)))
    assert sub.latest() == make(2) and sub.latest() is None
    assert (sub.skipped, sub.last_position) == (2, 2)
    ring.publish_many(map(make, range(10)))
    assert sub.latest() == make(9)
    assert (sub.skipped, sub.lost) == (11, 0)


def test_stamps():
    ring = Ring.anonymous("str", 8, stamped=True)
    assert ring.stats()["stamped"] is True
    sub = ring.subscribe()
    assert sub.stamp is None
    before = time.time_ns()
    ring.publish("a")
    after = time.time_ns()
    assert sub.recv() == "a"
    when, who = sub.stamp
    assert before <= when <= after and who == os.getpid()
    ring.publish("b")
    child = os.fork()
    if child == 0:
        ring.publish("c")
        os._exit(0)
    os.waitpid(child, 0)
    assert sub.poll_many() == ["b", "c"] and sub.stamp[1] == child
    plain = Ring.anonymous("str", 8)
    reader = plain.subscribe()
    plain.publish("x")
    assert reader.recv() == "x" and reader.stamp is None


def test_only_strings_are_stamped():
    with pytest.raises(ValueError):
        Ring.anonymous("int", 8, stamped=True)
