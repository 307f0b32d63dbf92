"""Numbers as buffers: no copy into lists, and no numpy needed."""

import array

import pytest

from pubsub_shared import Ring

FORMATS = {"int": "q", "int32": "i", "int16": "h", "float": "d"}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_packed_batch_has_the_ring_s_own_format(kind):
    ring = Ring.anonymous(kind, 16)
    sub = ring.subscribe()
    values = [1, -2, 3, 2**15 - 1, -(2**15)]
    assert ring.publish_packed(array.array(FORMATS[kind], values)) == 5
    view = sub.poll_packed()
    assert isinstance(view, memoryview) and view.format == FORMATS[kind] and view.readonly
    assert view.tolist() == values and array.array(FORMATS[kind], view).tolist() == values
    assert sub.poll_packed().tolist() == []
    ring.publish_many(values)
    assert sub.recv_packed(3, timeout=0).tolist() == values[:3]
    with pytest.raises(TimeoutError):
        sub.poll_packed()
        sub.recv_packed(timeout=0)
    with pytest.raises(ValueError, match="limit must be at least 1"):
        sub.recv_packed(0)


def test_what_is_not_of_the_ring_s_width_is_refused(ints):
    for wrong in (array.array("i", [1]), array.array("d", [1.0]), array.array("Q", [1]), b"12345678"):
        with pytest.raises(ValueError, match="a ring of int takes items of format 'q'"):
            ints.publish_packed(wrong)
    with pytest.raises(TypeError):
        ints.publish_packed([1, 2])
    assert ints.write_position == 0


def test_strings_have_no_packed_batches(strs):
    sub = strs.subscribe()
    for call in (lambda: strs.publish_packed(b""), sub.poll_packed, lambda: sub.recv_packed(timeout=0)):
        with pytest.raises(TypeError, match="packed batches are for rings of numbers"):
            call()


def test_strided_and_empty_buffers(ints):
    sub = ints.subscribe()
    every_other = memoryview(array.array("q", range(10)))[::2]
    assert ints.publish_packed(every_other) == 5 and ints.publish_packed(array.array("q")) == 0
    assert sub.poll_packed().tolist() == [0, 2, 4, 6, 8]


def test_numpy_arrays():
    numpy = pytest.importorskip("numpy")
    for kind, dtype in (("int", numpy.int64), ("int32", numpy.int32), ("int16", numpy.int16), ("float", numpy.float64)):
        ring = Ring.anonymous(kind, 1024)
        sub = ring.subscribe()
        values = numpy.arange(-300, 300, dtype=dtype)
        assert ring.publish_packed(values) == 600
        received = numpy.asarray(sub.poll_packed())
        assert received.dtype == dtype and (received == values).all()
        with pytest.raises(ValueError):
            ring.publish_packed(values.astype(dtype().dtype.newbyteorder()))
