"""Several subscribers as one."""

import select
import signal

import pytest

from pubsub_shared import Gone, Ring, Set


def test_who_has_messages(ints, strs):
    numbers, texts = ints.subscribe(), strs.subscribe()
    both = Set([numbers, texts])
    assert len(both) == 2 and numbers in both and ints not in both
    assert both.wait(0) == both.wait(timeout=0.001) == []
    strs.publish("a")
    assert both.wait() == [texts]
    ints.publish(1)
    assert both.wait() == [numbers, texts]
    assert numbers.recv() == 1 and texts.recv() == "a"
    assert both.wait(0) == []


def test_it_sleeps_until_any_of_them_has(ints, strs, in_thread):
    numbers, texts, answers = ints.subscribe(), strs.subscribe(), Ring.anonymous("int", 64)
    answered = answers.subscribe()

    def ask():
        for i in range(300):
            ring, value = ((ints, i), (strs, str(i)))[i % 2]
            ring.publish(value)
            assert answered.recv() == i

    in_thread(ask)
    both, got = Set([numbers, texts]), 0
    while got < 300:
        for sub in both.wait():
            for value in sub.poll_many():
                assert int(value) == got
                got += 1
                answers.publish(int(value))


def test_more_than_a_thread_can_wait_for(in_thread):
    rings = [Ring.anonymous("int", 2) for _ in range(150)]
    subs = [ring.subscribe() for ring in rings]
    every = Set(subs)
    for i in (0, 149, 77):
        in_thread(rings[i].publish, i)
        assert every.wait() == [subs[i]]
        assert subs[i].recv() == i


def test_its_descriptor(ints, strs):
    numbers, texts = ints.subscribe(), strs.subscribe()
    some = Set([numbers])
    fd = some.fileno()
    readable = lambda seconds: select.select([fd], [], [], seconds)[0] == [fd]
    assert not readable(0)
    some.add(texts)
    some.add(texts)
    assert len(some) == 2 and some.fileno() == fd
    strs.publish("a")
    assert readable(None)
    assert texts.recv() == "a" and texts.poll() is None and not readable(0)
    some.remove(texts)
    strs.publish("b")
    ints.publish(1)
    assert readable(None) and some.wait() == [numbers]
    assert numbers.recv() == 1 and numbers.poll() is None
    assert not readable(0)


def test_losses_that_are_to_be_told_count(strs):
    ring = Ring.anonymous("int", 2)
    sub = ring.subscribe(strict=True)
    ring.publish_many([1, 2, 3])
    assert Set([sub]).wait(0) == [sub]


def test_closed_members_are_none(ints):
    sub, other = ints.subscribe(), ints.subscribe()
    some = Set([sub, other])
    sub.close()
    ints.publish(1)
    assert some.wait() == [other] and len(some) == 1
    other.close()
    with pytest.raises(ValueError, match="no members"):
        some.wait(0)
    with pytest.raises(ValueError, match="closed"):
        some.add(sub)
    with pytest.raises(ValueError, match="not a member"):
        some.remove(ints.subscribe())
    with pytest.raises(TypeError):
        Set([ints])


def test_all_rings_gone(tmp_path):
    rings = [Ring(tmp_path / name, "int", 8) for name in "ab"]
    subs = [ring.subscribe() for ring in rings]
    both = Set(subs)
    rings[0].unlink()
    assert both.wait(0.001) == []
    rings[1].publish(1)
    rings[1].unlink()
    assert both.wait() == [subs[1]]
    assert subs[1].recv() == 1
    with pytest.raises(Gone):
        both.wait()


def test_a_signal_handler_may_end_the_wait_and_cannot_read_meanwhile(ints):
    sub = ints.subscribe()
    one = Set([sub])
    refused = []

    class Enough(Exception):
        pass

    def handler(*_):
        for call in (sub.poll, one.wait, lambda: len(one)):
            with pytest.raises(RuntimeError, match="in use"):
                call()
            refused.append(call)
        raise Enough

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(Enough):
            one.wait()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(refused) == 3
    ints.publish(1)
    assert one.wait() == [sub]
