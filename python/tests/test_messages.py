"""What goes in comes out, of each kind; what does not fit is refused, and nothing is published."""

import array

import pytest

from pubsub_shared import Ring

RANGES = {"int": 63, "int32": 31, "int16": 15}


@pytest.mark.parametrize("kind", RANGES)
def test_integers_of_each_width(kind):
    ring = Ring.anonymous(kind, 16)
    sub = ring.subscribe()
    least, most = -(2 ** RANGES[kind]), 2 ** RANGES[kind] - 1
    ring.publish(least)
    assert ring.publish_many([most, 0, -1]) == 3
    assert sub.poll_many() == [least, most, 0, -1]
    assert sub.poll() is None and sub.poll_many() == []
    for wrong in (least - 1, most + 1, 2**64):
        with pytest.raises(OverflowError):
            ring.publish(wrong)
        with pytest.raises(OverflowError):
            ring.publish_many([1, wrong])
    for wrong in ("1", None, 1.5, b"1"):
        with pytest.raises(TypeError):
            ring.publish(wrong)
    assert ring.write_position == 4


def test_floats():
    ring = Ring.anonymous("float", 16)
    sub = ring.subscribe()
    values = [0.5, -0.0, 1e308, float("inf"), 2, True, -(2**53)]
    ring.publish(0.1)
    assert ring.publish_many(values) == 7
    received = sub.poll_many()
    assert received == [0.1, *values] and all(type(value) is float for value in received)
    ring.publish(float("nan"))
    nan = sub.poll()
    assert nan != nan
    for wrong in ("1", None, b"1"):
        with pytest.raises(TypeError):
            ring.publish(wrong)
    with pytest.raises(OverflowError):
        ring.publish_many([1, 10**400])
    assert ring.write_position == 9


@pytest.mark.parametrize(
    "message", ["", b"", "plain", b"plain", "caf\u00e9 \U0001f600", b"\x00\xff\x00", "nul\0nul", "x" * 100, b"y" * 100]
)
def test_strings_arrive_as_what_they_were(strs, message):
    sub = strs.subscribe()
    strs.publish(message)
    received = sub.recv(timeout=0)
    assert received == message and type(received) is type(message)


def test_buffers_arrive_as_bytes(strs):
    sub = strs.subscribe()
    strs.publish_many([bytearray(b"ab"), memoryview(b"abcd")[::2], array.array("b", [1, 2])])
    assert sub.poll_many() == [b"ab", b"ac", b"\x01\x02"]


def test_a_batch_of_strings_is_published_as_a_whole_or_not_at_all(strs):
    sub = strs.subscribe()
    with pytest.raises(ValueError, match=r"message too long \(101 > 100\)"):
        strs.publish_many(["a", "b" * 101])
    with pytest.raises(TypeError, match="takes str, bytes and buffers, not int"):
        strs.publish_many(["a", 5])
    with pytest.raises(UnicodeEncodeError):
        strs.publish_many(["a", "\ud800"])

    def breaks():
        yield "a"
        raise LookupError("in the middle")

    with pytest.raises(LookupError):
        strs.publish_many(breaks())
    assert strs.publish_many(str(i) for i in range(10)) == 10
    assert sub.poll_many(4) == ["0", "1", "2", "3"] and sub.lag == 6
    assert strs.publish_many([]) == 0 and strs.write_position == 10


def test_a_batch_larger_than_the_ring(ints):
    sub = ints.subscribe()
    ints.publish_many(range(100))
    assert sub.poll_many() == list(range(36, 100)) and sub.lost == 36


def test_positions(ints):
    sub = ints.subscribe()
    ints.publish_many([5, 6, 7])
    assert (sub.poll(), sub.last_position, sub.position, sub.lag) == (5, 0, 1, 2)
    sub.seek(2)
    assert (sub.poll(), sub.last_position) == (7, 2)
    sub.reset(oldest=True)
    assert sub.poll_many() == [5, 6, 7]
    ints.publish(8)
    sub.reset()
    assert sub.poll() is None
    ints.clear()
    ints.publish(9)
    assert (sub.poll(), sub.last_position, ints.write_position) == (9, 0, 1)
    for wrong in (2**63, 2**64, -1):
        with pytest.raises((ValueError, OverflowError)):
            sub.seek(wrong)
