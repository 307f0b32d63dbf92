"""Rings in shared memory, and their subscribers.

A handle may be used by any thread, by one at a time. Calls that may wait let other threads run, and signal handlers.
"""

from os import PathLike
from typing import Any, AsyncIterator, Iterable, Literal, Optional, TypedDict, Union, final

from typing_extensions import Buffer, Self, Unpack

_Kind = Literal["int", "int32", "int16", "float", "str"]
_Path = Union[str, bytes, PathLike[str], PathLike[bytes]]
_Message = Union[int, float, str, bytes]
_Prefixes = Union[str, Buffer, Iterable[Union[str, Buffer]]]

class _Options(TypedDict, total=False):
    """What a new ring is like.

    message_size: of ``"str"``, the longest message in bytes, 1 to 2**31 - 1; 256.
    publishers: of ``"str"``, how many can be in the middle of a publish at once, 1 to 65536; 0: as many as fit into 4 MiB.
    readers: how many subscribers the table of readers has room for, 1 to 65535; 0: 64; None: no table.
    mode: a file's permission bits, whatever the umask; 0o600.
    lossless: publishers wait for readers, instead of overwriting what one of them has not read.
    keep: of a lossless ring, for how many seconds publishers wait for a named reader that is away.
    prefault: maps every page of the ring now, instead of at the first message in it.
    stamped: of ``"str"``, each message has the time and the process of its publisher: see ``Subscriber.stamp``.
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
    """Messages were overwritten before they were read; ``args[0]`` says how many. The next call returns the one behind them."""

class Busy(PubSubError):
    """A reader of this name lives, or the table of readers is full."""

class Gone(PubSubError):
    """No message will come: the ring's file was removed or replaced, and everything in it was read."""

@final
class Ring:
    """A handle on a ring: publishes, looks in, and hands out subscribers.

    ``Ring(path)`` opens the ring that is there, whatever it carries. ``Ring(path, kind, capacity)`` opens it or creates it;
    a ring that exists keeps its own sizes.

    kind: ``"int"`` (64 bits), ``"int32"``, ``"int16"``, ``"float"``, or ``"str"`` for ``str`` and ``bytes``.
    capacity: messages that the ring holds, 1 to 2**31, rounded up to a power of two. Other options: see ``_Options``.

    Raises OSError where the system refuses, ValueError for sizes out of range, Incompatible for a file that is not such a ring.
    """

    def __new__(
        cls, path: _Path, kind: Optional[_Kind] = None, capacity: int = 0, **options: Unpack[_Options]
    ) -> Self: ...
    @staticmethod
    def open_read_only(path: _Path) -> Ring:
        """The ring at the path for reading only: needs no permission to write, and cannot harm the ring."""
    @staticmethod
    def anonymous(kind: _Kind, capacity: int, **options: Unpack[_Options]) -> Ring:
        """A new ring without a name, for the threads of this process and the children that it forks."""
    @staticmethod
    def memfd(name: str, kind: _Kind, capacity: int, **options: Unpack[_Options]) -> Ring:
        """A new ring in a memfd; ``fileno()`` is to be passed on. The name is for /proc, 249 bytes at most."""
    @staticmethod
    def from_fd(fd: int) -> Ring:
        """The ring behind a descriptor, which is duplicated; for reading only where that is open for reading only."""
    def publish(self, value: Union[_Message, Buffer], timeout: Optional[float] = None) -> None:
        """Publishes a message and wakes the subscribers that wait for one. Waits for room in a lossless ring, for ``timeout``
        seconds at most (None: no limit), and raises TimeoutError then.

        ``str`` arrives as ``str``; ``bytes`` and other buffers arrive as ``bytes``. Raises OverflowError for a number that does
        not fit, ValueError for a message that is too long or a ring that is read-only, TypeError for what the ring does
        not carry.
        """
    def publish_many(self, values: Iterable[Union[_Message, Buffer]]) -> int:
        """Publishes messages next to each other, in order: all, or none where it raises. Numbers are adjacent in pieces of 8192,
        or as many as the ring has slots. Returns how many. In a lossless ring it waits for room."""
    def publish_packed(self, buffer: Buffer) -> int:
        """Publishes the numbers of a buffer, such as an ``array.array`` or a numpy array. Returns how many.

        The items must be of the ring's type: ``int64`` for ``"int"``, ``int32``, ``int16``, ``float64`` for ``"float"``. Raises
        ValueError for others. They are adjacent in pieces of 8192, or as many as the ring has slots.
        """
    def wait_for_readers(self, timeout: Optional[float] = None) -> bool:
        """Waits until every reader in the table has read what is published now. False: the time is up."""
    def subscribe(
        self,
        *,
        oldest: bool = False,
        strict: bool = False,
        lossy: bool = False,
        name: Optional[str] = None,
        prefix: Optional[_Prefixes] = None,
    ) -> Subscriber:
        """A subscriber to what is published from now on, or from the oldest message that the ring still holds.

        strict: a loss raises Lagged in its place, instead of being counted only.
        lossy: publishers of a lossless ring do not wait for it.
        name: 1 to 47 bytes. The ring keeps its place when it goes, or dies, and the next of this name goes on there. Raises
        Busy while one lives.
        prefix: of ``"str"``, only messages that begin with it, or with one of several; see ``Subscriber.set_prefixes``.
        """
    def readers(self) -> list[dict[str, Any]]:
        """The subscribers in the table of readers: name, pid, position, lag, lost, delivered, waits, lossy, alive (None: nobody can
        know) and since, in seconds since 1970."""
    def forget(self, name: str) -> bool:
        """Removes the reader of this name, which is away, from the table. False: there is none. Raises Busy where it lives."""
    def clear(self) -> None:
        """Discards, in one step, everything published before. Positions start at 0 again."""
    def sync(self) -> None:
        """Writes the ring to its file and waits for the disk."""
    def unlink(self) -> None:
        """Removes the ring's file, and no other; it may be gone already."""
    def is_gone(self) -> bool:
        """Whether the ring's file was removed, or another one took its path."""
    def reopen(self) -> None:
        """Goes on with the ring that the path leads to now. Subscribers made before stay with the old one."""
    def stats(self) -> dict[str, Any]:
        """Sizes in bytes, and counts: capacity, message_size, mmap_size, write_position, published, recoveries, abandoned,
        waiters, publishers, leaked, readers, unlisted; lossless and stamped; and keep in seconds."""
    def fileno(self) -> int:
        """The descriptor of a ring in a memfd. It stays the ring's. Raises ValueError for others."""
    @property
    def kind(self) -> _Kind: ...
    @property
    def capacity(self) -> int: ...
    @property
    def message_size(self) -> int:
        """The longest message in bytes; 0 for numbers."""
    @property
    def write_position(self) -> int:
        """Positions claimed since the last clear."""
    @property
    def path(self) -> Optional[str]:
        """As it was given; None for rings in memory."""
    @property
    def read_only(self) -> bool: ...
    @property
    def closed(self) -> bool: ...
    def close(self) -> None:
        """Ends the handle. Its subscribers go on."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...

@final
class Subscriber:
    """Reads a ring with a cursor of its own. Iterating waits for messages, and ends when the ring's file was removed or replaced.

    Timeouts are seconds; None: no limit. Limits default to 2**20 messages.
    """

    def poll(self) -> Optional[_Message]:
        """The next message; None where there is none now."""
    def poll_many(self, limit: Optional[int] = None) -> list[_Message]:
        """Messages, in order, as many as there are; with ``strict`` up to the next loss."""
    def poll_packed(self, limit: Optional[int] = None) -> memoryview:
        """The same for numbers, as a read-only buffer of the ring's type: ``numpy.asarray`` takes it without a copy."""
    def recv(self, timeout: Optional[float] = None) -> _Message:
        """The next message; waits for it. Raises TimeoutError, Gone, and with ``strict`` Lagged."""
    def recv_many(self, limit: Optional[int] = None, timeout: Optional[float] = None) -> list[_Message]:
        """As poll_many, but waits for the first message. Raises as recv."""
    def recv_packed(self, limit: Optional[int] = None, timeout: Optional[float] = None) -> memoryview:
        """As poll_packed, but waits for the first message. Raises as recv."""
    def latest(self) -> Optional[_Message]:
        """The newest message that was not read yet, and everything before it is passed; None where there is none."""
    def set_prefixes(self, prefixes: _Prefixes) -> None:
        """From now on only messages come that begin with the prefix, or with one of several; with an empty list, all do. The others
        are passed without being copied, and wake nobody."""
    def wait(self, timeout: Optional[float] = None) -> bool:
        """Sleeps until there is a message; False: time is up, or the ring is gone."""
    def __iter__(self) -> Self: ...
    def __next__(self) -> _Message: ...
    def __aiter__(self) -> AsyncIterator[_Message]:
        """``async for message in sub``, in an asyncio loop."""
    async def recv_async(self, timeout: Optional[float] = None) -> _Message:
        """As recv, in an asyncio loop. Cancelling it loses no message."""
    def fileno(self) -> int:
        """A descriptor that is readable while there are messages, for select and event loops: only to be waited for. In a
        forked child, ask again."""
    @property
    def name(self) -> Optional[str]:
        """Under which it is in the table of readers."""
    def release(self) -> None:
        """Leaves the table of readers, and reads on. One with a name keeps its place for the next of this name."""
    @property
    def kind(self) -> _Kind: ...
    @property
    def capacity(self) -> int: ...
    @property
    def lag(self) -> int:
        """Messages published and not yet read."""
    @property
    def lost(self) -> int:
        """Messages that were overwritten before this subscriber read them, in all."""
    @property
    def filtered(self) -> int:
        """Messages that were passed because of their prefix."""
    @property
    def skipped(self) -> int:
        """Messages that ``latest`` passed."""
    @property
    def stamp(self) -> Optional[tuple[int, int]]:
        """Of the message that was read last, in a stamped ring: when it was published, in nanoseconds since 1970, and by which
        process."""
    @property
    def position(self) -> int:
        """The position of the next message, counted from the last clear."""
    @property
    def last_position(self) -> int:
        """The position of the message that was read last."""
    def seek(self, position: int) -> None:
        """Goes to a position. Beyond the write position: waits for that message."""
    def reset(self, *, oldest: bool = False) -> None:
        """Goes to what is published from now on, or to the oldest message that the ring holds."""
    def is_gone(self) -> bool:
        """Whether the ring's file was removed, or another one took its path."""
    def reopen(self) -> None:
        """Goes on with the ring that the path leads to now, at its oldest message."""
    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...

@final
class Set:
    """Waits for several subscribers at once, of rings of any kind. They stay the caller's, who reads them as ever; one that is closed
    is no member any more."""

    def __new__(cls, members: Optional[Iterable[Subscriber]] = None) -> Self: ...
    def add(self, member: Subscriber) -> None:
        """Makes the subscriber a member, if it is none."""
    def remove(self, member: Subscriber) -> None:
        """Raises ValueError where it is no member."""
    def wait(self, timeout: Optional[float] = None) -> list[Subscriber]:
        """Sleeps until members have messages: those that do. Empty: the time is up. Raises Gone where all rings are gone and read,
        ValueError where there are no members."""
    def fileno(self) -> int:
        """A descriptor that is readable while members have messages, for select and event loops: only to be waited for. In a forked
        child, ask again."""
    def __len__(self) -> int: ...
    def __contains__(self, member: object, /) -> bool: ...

def unlink(path: _Path) -> None:
    """Removes the ring's file at the path; it may be gone already."""
