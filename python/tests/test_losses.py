"""Losses are counted, and with `strict` they are exceptions in their place."""

import pytest

from pubsub_shared import Lagged, PubSubError, Ring


@pytest.mark.parametrize("kind", ["int", "str"])
def test_losses_are_counted(kind):
    ring = Ring.anonymous(kind, 4)
    make = int if kind == "int" else str
    sub = ring.subscribe()
    ring.publish_many(map(make, range(10)))
    assert sub.lag == 10 and sub.poll_many() == [make(i) for i in range(6, 10)]
    assert sub.lost == 6


CALLS = {
    "poll": lambda sub: sub.poll(),
    "recv": lambda sub: sub.recv(),
    "next": lambda sub: next(sub),
    "poll_many": lambda sub: sub.poll_many(1)[0],
    "recv_many": lambda sub: sub.recv_many(1)[0],
    "poll_packed": lambda sub: sub.poll_packed(1)[0],
    "recv_packed": lambda sub: sub.recv_packed(1)[0],
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_strict_subscribers_are_told_before_the_message_behind_the_gap(call):
    ring = Ring.anonymous("int", 4)
    sub = ring.subscribe(strict=True)
    ring.publish_many([1, 2, 3])
    assert call(sub) == 1
    ring.publish_many([4, 5, 6, 7])
    with pytest.raises(Lagged) as lagged:
        call(sub)
    assert lagged.value.args == (2,) and isinstance(lagged.value, PubSubError)
    assert [call(sub) for _ in range(4)] == [4, 5, 6, 7]
    assert sub.lost == 2


def test_a_batch_ends_at_a_gap():
    ring = Ring.anonymous("int", 4)
    sub = ring.subscribe(strict=True)
    ring.publish_many(range(4))
    assert sub.poll_many(2) == [0, 1]
    ring.publish_many(range(4, 9))
    with pytest.raises(Lagged, match="3"):
        sub.poll_many()
    assert sub.poll_many() == [5, 6, 7, 8] and sub.poll_many() == []


def test_the_account_beside_a_publisher_is_exact(in_thread):
    count = 20_000
    ring = Ring.anonymous("int", 16)
    sub = ring.subscribe(strict=True)
    in_thread(lambda: [ring.publish(i) for i in range(count)])
    expected = lost = 0
    while expected < count:
        try:
            value = sub.recv()
            assert value == expected
            expected += 1
        except Lagged as lagged:
            lost += lagged.args[0]
            expected += lagged.args[0]
    assert (expected, lost) == (count, sub.lost)
