"""Rings in shared memory, and their subscribers.

A handle may be used by any thread, but only by one at a time. While a call waits, other threads and signal handlers run.
"""

from os import PathLike
from typing import Any, AsyncIterator, Iterable, Literal, Optional, TypedDict, Union, final

from typing_extensions import Buffer, Self, Unpack

_Kind = Literal["int", "int32", "int16", "float", "str"]
_Path = Union[str, bytes, PathLike[str], PathLike[bytes]]
_Message = Union[int, float, str, bytes]
_Prefixes = Union[str, Buffer, Iterable[Union[str, Buffer]]]

class _Options(TypedDict, total=False):
    """The options of a new ring.

    message_size: for ``"str"``, the maximum length of a message in bytes, 1 to 2**31 - 1; default 256.
    publishers: for ``"str"``, how many can be in the middle of a publish at once, 1 to 65536; 0: as many as fit into 4 MiB.
    readers: the number of entries of the table of readers, 1 to 65535; 0: 64; None: no table.
    mode: the permission bits of a file, regardless of the umask; default 0o600.
    lossless: publishers wait for readers, instead of overwriting unread messages.
    keep: for a lossless ring, how many seconds publishers wait for a named reader that is away.
    prefault: maps every page of the ring now, instead of on first use.
    stamped: for ``"str"``, each message has the time and the process of its publisher: see ``Subscriber.stamp``.
    """

    message_size: int
    publishers: int
    readers: Optional[int]
    mode: int
    lossless: bool
    keep: float
    prefault: bool
    stamped: bool

__version__: str
__all__ = ["Busy", "Gone", "Incompatible", "Lagged", "PubSubError", "Ring", "Set", "Subscriber", "__version__", "unlink"]

class PubSubError(Exception):
    """Base class of this package's own exceptions."""

class Incompatible(PubSubError):
    """The file is not a ring of this kind and version, or is damaged."""

class Lagged(PubSubError):
    """Messages were overwritten before they were read; ``args[0]`` is their number. The next call returns the next one."""

class Busy(PubSubError):
    """A live process has this name, or the table of readers is full."""

class Gone(PubSubError):
    """No more messages will arrive: the ring's file was removed or replaced, and all its messages were read."""

@final
class Ring:
    """A handle for a ring: publishes, inspects the ring, and creates subscribers.

    ``Ring(path)`` opens an existing ring of any kind. ``Ring(path, kind, capacity)`` opens or creates it;
    an existing ring keeps its own sizes.

    kind: ``"int"`` (64 bits), ``"int32"``, ``"int16"``, ``"float"``, or ``"str"`` for ``str`` and ``bytes``.
    capacity: messages that the ring holds, 1 to 2**31, rounded up to a power of two. Other options: see ``_Options``.

    Raises OSError if a system call fails, ValueError for sizes out of range, Incompatible for a file that is not such a ring.
    """

    def __new__(
        cls, path: _Path, kind: Optional[_Kind] = None, capacity: int = 0, **options: Unpack[_Options]
    ) -> Self: ...
    @staticmethod
    def open_read_only(path: _Path) -> Ring:
        """Opens the ring at the path for reading only: needs no write permission, and cannot change the ring."""
    @staticmethod
    def anonymous(kind: _Kind, capacity: int, **options: Unpack[_Options]) -> Ring:
        """Makes a ring without a name, for the threads of this process and its children."""
    @staticmethod
    def memfd(name: str, kind: _Kind, capacity: int, **options: Unpack[_Options]) -> Ring:
        """Makes a ring in a memfd; pass ``fileno()`` to other processes. The name, at most 249 bytes, appears in /proc."""
    @staticmethod
    def from_fd(fd: int) -> Ring:
        """Opens the ring of a descriptor, which is duplicated; for reading only if the descriptor is open for reading only."""
    def publish(self, value: Union[_Message, Buffer], timeout: Optional[float] = None) -> None:
        """Publishes a message and wakes waiting subscribers. Waits for space in a full lossless ring, for at most ``timeout``
        seconds (None: no limit), and then raises TimeoutError.

        ``str`` arrives as ``str``; ``bytes`` and other buffers arrive as ``bytes``. Raises OverflowError for a number that does
        not fit, ValueError for a message that is too long or a ring that is read-only, TypeError for a value of another type
        than the ring's.
        """
    def publish_many(self, values: Iterable[Union[_Message, Buffer]]) -> int:
        """Publishes messages, adjacent and in order: all of them, or none if it raises. Numbers are adjacent in pieces of 8192,
        or as many as the ring has slots. Returns how many it published. Waits for space in a full lossless ring."""
    def publish_packed(self, buffer: Buffer) -> int:
        """Publishes the numbers of a buffer, such as an ``array.array`` or a numpy array. Returns how many it published.

        The items must be of the ring's type: ``int64`` for ``"int"``, ``int32``, ``int16``, ``float64`` for ``"float"``. Raises
        ValueError for others. They are adjacent in pieces of 8192, or as many as the ring has slots.
        """
    def wait_for_readers(self, timeout: Optional[float] = None) -> bool:
        """Waits until every reader in the table has read the messages published so far. Returns False after the timeout."""
    def subscribe(
        self,
        *,
        oldest: bool = False,
        strict: bool = False,
        lossy: bool = False,
        name: Optional[str] = None,
        prefix: Optional[_Prefixes] = None,
    ) -> Subscriber:
        """Makes a subscriber of the messages published from now on, or of all from the oldest message in the ring on.

        strict: a loss raises Lagged at its position, instead of only being counted.
        lossy: publishers of a lossless ring do not wait for it.
        name: 1 to 47 bytes. The ring keeps the position of a named subscriber that ends or dies, and the next subscriber of
        this name resumes there. Raises Busy if a live process has this name.
        prefix: for ``"str"``, only messages that begin with it, or with one of several; see ``Subscriber.set_prefixes``.
        """
    def readers(self) -> list[dict[str, Any]]:
        """The subscribers in the table of readers: name, pid, position, lag, lost, delivered, waits, lossy, alive (None:
        unknown) and since, in seconds since 1970."""
    def forget(self, name: str) -> bool:
        """Removes the reader of this name, which is away, from the table. Returns False if there is none. Raises Busy if it is
        alive."""
    def clear(self) -> None:
        """Discards, in one step, everything published before. Positions start at 0 again."""
    def sync(self) -> None:
        """Writes the ring to its file and waits for the disk."""
    def unlink(self) -> None:
        """Removes only the ring's own file. A missing file is not an error."""
    def is_gone(self) -> bool:
        """Whether the ring's file was removed, or another one took its path."""
    def reopen(self) -> None:
        """Switches to the ring that is at the path now. Existing subscribers keep the old one."""
    def stats(self) -> dict[str, Any]:
        """Sizes in bytes, and counts: capacity, message_size, mmap_size, write_position, published, recoveries, abandoned,
        waiters, publishers, leaked, readers, unlisted; lossless and stamped; and keep in seconds."""
    def fileno(self) -> int:
        """The descriptor of a ring in a memfd. It belongs to the ring. Raises ValueError for other rings."""
    @property
    def kind(self) -> _Kind: ...
    @property
    def capacity(self) -> int: ...
    @property
    def message_size(self) -> int:
        """The maximum length of a message in bytes; 0 for numbers."""
    @property
    def write_position(self) -> int:
        """Positions claimed since the last clear."""
    @property
    def path(self) -> Optional[str]:
        """The path as it was given; None for rings in memory."""
    @property
    def read_only(self) -> bool: ...
    @property
    def closed(self) -> bool: ...
    def close(self) -> None:
        """Ends the handle. Its subscribers can still be used."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...

@final
class Subscriber:
    """Reads a ring with a cursor of its own. Iterating waits for messages, and ends when the ring's file was removed or replaced.

    Timeouts are seconds; None: no limit. Limits default to 2**20 messages.
    """

    def poll(self) -> Optional[_Message]:
        """The next message; None if there is none now."""
    def poll_many(self, limit: Optional[int] = None) -> list[_Message]:
        """All messages in the ring, in order; with ``strict`` up to the next loss."""
    def poll_packed(self, limit: Optional[int] = None) -> memoryview:
        """The same for numbers, as a read-only buffer of the ring's type: ``numpy.asarray`` takes it without a copy."""
    def recv(self, timeout: Optional[float] = None) -> _Message:
        """The next message; waits for it. Raises TimeoutError, Gone, and with ``strict`` Lagged."""
    def recv_many(self, limit: Optional[int] = None, timeout: Optional[float] = None) -> list[_Message]:
        """As poll_many, but waits for the first message. Raises as recv."""
    def recv_packed(self, limit: Optional[int] = None, timeout: Optional[float] = None) -> memoryview:
        """As poll_packed, but waits for the first message. Raises as recv."""
    def latest(self) -> Optional[_Message]:
        """The newest message if it was not read yet, otherwise None. Skips the messages before it."""
    def set_prefixes(self, prefixes: _Prefixes) -> None:
        """From now on delivers only messages that begin with the prefix, or with one of several; with an empty list, all. The
        others are skipped without being copied, and wake no waiter."""
    def wait(self, timeout: Optional[float] = None) -> bool:
        """Sleeps until there is a message. Returns False after the timeout, or if the ring is gone."""
    def __iter__(self) -> Self: ...
    def __next__(self) -> _Message: ...
    def __aiter__(self) -> AsyncIterator[_Message]:
        """``async for message in sub``, in an asyncio loop."""
    async def recv_async(self, timeout: Optional[float] = None) -> _Message:
        """As recv, in an asyncio loop. Cancelling it loses no message."""
    def fileno(self) -> int:
        """A descriptor that is readable while there are messages, for select and event loops. Only wait for it. In a
        forked child, call this again."""
    @property
    def name(self) -> Optional[str]:
        """The name in the table of readers."""
    def release(self) -> None:
        """Removes the subscriber from the table of readers; it can still read. A name keeps its position for the next
        subscriber of this name."""
    @property
    def kind(self) -> _Kind: ...
    @property
    def capacity(self) -> int: ...
    @property
    def lag(self) -> int:
        """Messages published and not yet read."""
    @property
    def lost(self) -> int:
        """The total number of messages that were overwritten before this subscriber read them."""
    @property
    def filtered(self) -> int:
        """Messages that were skipped because of their prefix."""
    @property
    def skipped(self) -> int:
        """Messages that ``latest`` skipped."""
    @property
    def stamp(self) -> Optional[tuple[int, int]]:
        """In a stamped ring, when the message that was read last was published, in nanoseconds since 1970, and by which
        process."""
    @property
    def position(self) -> int:
        """The position of the next message, counted from the last clear."""
    @property
    def last_position(self) -> int:
        """The position of the message that was read last."""
    def seek(self, position: int) -> None:
        """Moves to a position. Beyond the write position, the subscriber waits for that message."""
    def reset(self, *, oldest: bool = False) -> None:
        """Moves to the end of the ring, or to the oldest message in it."""
    def is_gone(self) -> bool:
        """Whether the ring's file was removed, or another one took its path."""
    def reopen(self) -> None:
        """Switches to the ring that is at the path now, at its oldest message."""
    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...

@final
class Set:
    """Waits for several subscribers at once, of rings of any kind. Read the subscribers with their own methods. A closed subscriber
    is no longer a member."""

    def __new__(cls, members: Optional[Iterable[Subscriber]] = None) -> Self: ...
    def add(self, member: Subscriber) -> None:
        """Adds the subscriber, if it is not a member."""
    def remove(self, member: Subscriber) -> None:
        """Removes the subscriber. Raises ValueError if it is not a member."""
    def wait(self, timeout: Optional[float] = None) -> list[Subscriber]:
        """Sleeps until members have messages, and returns these members; an empty list after the timeout. Raises Gone if all rings
        are gone and read, ValueError if there are no members."""
    def fileno(self) -> int:
        """A descriptor that is readable while members have messages, for select and event loops. Only wait for it. In a forked
        child, call this again."""
    def __len__(self) -> int: ...
    def __contains__(self, member: object, /) -> bool: ...

def unlink(path: _Path) -> None:
    """Removes the ring's file at the path. A missing file is not an error."""
