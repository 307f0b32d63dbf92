"""Broadcast messages between the processes of one Linux host, over shared memory.

    from pubsub_shared import Ring

    with Ring("/dev/shm/ticks.ring", "int", 1024) as ring, ring.subscribe() as sub:
        ring.publish(42)
        print(sub.recv(timeout=1))

Any process may publish to a ring, and each subscriber gets each message. Publishers never wait for subscribers: one that
falls more than the ring's capacity behind loses the oldest messages, and `lost` says how many. Rings are shared with
programs in Perl, Rust and C.
"""

from ._core import Busy, Gone, Incompatible, Lagged, PubSubError, Ring, Set, Subscriber, __version__, unlink

__all__ = ["Busy", "Gone", "Incompatible", "Lagged", "PubSubError", "Ring", "Set", "Subscriber", "__version__", "unlink"]
