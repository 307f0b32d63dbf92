"""Readers that a ring knows: names that keep their place, and publishers that wait."""

import signal

import pytest

from pubsub_shared import Busy, PubSubError, Ring


@pytest.fixture
def lossless():
    return Ring.anonymous("int", 4, lossless=True, keep=2.5)


def test_publishers_of_a_lossless_ring_wait_for_room(lossless, in_thread):
    sub, count = lossless.subscribe(strict=True), 2_000
    assert (lossless.stats()["lossless"], lossless.stats()["keep"]) == (True, 2.5)

    def publish():
        for i in range(0, count // 2):
            lossless.publish(i)
        assert lossless.publish_many(range(count // 2, count)) == count // 2
        assert lossless.wait_for_readers(60)

    thread = in_thread(publish)
    assert [sub.recv() for _ in range(count)] == list(range(count))
    sub.poll()
    thread.join()
    assert sub.lost == 0 and lossless.readers()[0]["delivered"] == count


def test_strings_wait_for_room_too(in_thread):
    ring = Ring.anonymous("str", 4, lossless=True)
    sub = ring.subscribe()
    in_thread(lambda: [ring.publish(str(i)) for i in range(500)] + [ring.publish_many("abc")])
    assert [sub.recv() for _ in range(503)] == [str(i) for i in range(500)] + ["a", "b", "c"]


def test_time_is_up(lossless, in_thread):
    held = []
    in_thread(lambda: held.append(lossless.subscribe())).join()
    lossless.publish_many(range(4))
    for timeout in (0, 0.001):
        with pytest.raises(TimeoutError):
            lossless.publish(4, timeout=timeout)
    assert lossless.wait_for_readers(0) is False and lossless.write_position == 4

    class Enough(Exception):
        pass

    def handler(*_):
        raise Enough

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for wait in (lambda: lossless.publish(4), lambda: lossless.publish_many([4, 5]), lossless.wait_for_readers):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            with pytest.raises(Enough):
                wait()
    finally:
        signal.signal(signal.SIGALRM, before)


def test_lossy_readers_are_not_waited_for(lossless):
    sub = lossless.subscribe(lossy=True)
    lossless.publish_many(range(10))
    assert sub.poll_many() == [6, 7, 8, 9] and sub.lost == 6


def test_a_name_keeps_its_place(path):
    ring = Ring(path, "int", 16, readers=4)
    with ring.subscribe(name="audit") as sub:
        assert sub.name == "audit" and ring.subscribe().name is None
        with pytest.raises(Busy):
            ring.subscribe(name="audit")
        with pytest.raises(Busy):
            ring.forget("audit")
        ring.publish_many([1, 2, 3])
        assert sub.recv() == 1
    (reader,) = (reader for reader in Ring(path).readers() if reader["name"])
    assert (reader["name"], reader["position"], reader["lag"], reader["alive"]) == ("audit", 1, 2, False)
    with ring.subscribe(name="audit") as sub:
        assert sub.poll_many() == [2, 3]
        sub.release()
        assert sub.name is None
    assert ring.forget("audit") is True and ring.forget("audit") is False
    for wrong in ("", "x" * 48, "a\0b"):
        with pytest.raises(ValueError):
            ring.subscribe(name=wrong)
    assert issubclass(Busy, PubSubError)


def test_options_are_checked():
    with pytest.raises(TypeError, match="unexpected option 'redaers'"):
        Ring.anonymous("int", 4, redaers=1)
    for keep in (-1, float("nan"), 1e10):
        with pytest.raises(ValueError, match="keep must be"):
            Ring.anonymous("int", 4, lossless=True, keep=keep)
    assert Ring.anonymous("int", 4, readers=None).stats()["readers"] == 0
    assert Ring.anonymous("int", 4, prefault=True).capacity == 4
