"""Waiting in an asyncio loop, over the descriptor of a subscriber."""

from __future__ import annotations

import asyncio
from typing import AsyncIterator, Optional, Union

from ._core import Gone, Subscriber

# A ring that is removed makes no descriptor readable: a waiting coroutine looks so often, in seconds.
_STILL_THERE = 1.0


async def recv(sub: Subscriber, timeout: Optional[float] = None) -> Union[int, float, str, bytes]:
    """The next message; TimeoutError after `timeout` seconds. Cancelling it loses no message."""
    loop = asyncio.get_running_loop()
    deadline = None if timeout is None else loop.time() + timeout
    while True:
        message = sub.poll()
        if message is not None:
            return message
        if sub.is_gone():
            last = sub.poll()
            if last is None:
                raise Gone("the ring's file was removed or replaced")
            return last
        wait = _STILL_THERE
        if deadline is not None:
            wait = min(wait, deadline - loop.time())
            if wait <= 0:
                raise TimeoutError("no message came in time")
        await _readable(loop, sub.fileno(), wait)


async def _readable(loop: asyncio.AbstractEventLoop, fd: int, seconds: float) -> None:
    """Returns when the descriptor is readable, or the time is up."""
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(fd, wake)
    timer = loop.call_later(seconds, wake)
    try:
        await ready
    finally:
        timer.cancel()
        loop.remove_reader(fd)


async def messages(sub: Subscriber) -> AsyncIterator[Union[int, float, str, bytes]]:
    """Messages, until the ring's file was removed or replaced and everything in it was read."""
    while True:
        try:
            message = await recv(sub)
        except Gone:
            return
        yield message
