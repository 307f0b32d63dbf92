"""Waiting in an asyncio loop."""

import asyncio

import pytest

from pubsub_shared import Gone, Lagged, Ring


def test_tasks_wait_side_by_side():
    async def main():
        ring = Ring.anonymous("int", 64)
        answers = Ring.anonymous("int", 64)

        async def answer(sub):
            async for value in sub:
                answers.publish(value * 10)
                if value == 100:
                    return

        tasks = [asyncio.create_task(answer(ring.subscribe())) for _ in range(3)]
        answered = answers.subscribe()
        for i in range(1, 101):
            ring.publish(i)
            assert [await answered.recv_async() for _ in tasks] == [i * 10] * 3
        await asyncio.gather(*tasks)

    asyncio.run(main())


def test_timeouts_and_cancelled_waits_lose_nothing():
    async def main():
        ring = Ring.anonymous("str", 64)
        sub = ring.subscribe()
        for i in range(20):
            with pytest.raises(TimeoutError):
                await sub.recv_async(timeout=0.001)
            task = asyncio.create_task(sub.recv_async())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            ring.publish(str(i))
            assert await sub.recv_async(timeout=60) == str(i)

    asyncio.run(main())


def test_the_end_of_a_ring_is_the_end_of_its_iteration(tmp_path):
    async def main():
        ring = Ring(tmp_path / "ring", "int", 8)
        sub = ring.subscribe()
        ring.publish_many([1, 2])
        ring.unlink()
        assert [value async for value in sub] == [1, 2]
        with pytest.raises(Gone):
            await sub.recv_async()

    asyncio.run(main())


def test_strict_subscribers_are_told():
    async def main():
        ring = Ring.anonymous("int", 4)
        sub = ring.subscribe(strict=True)
        ring.publish_many(range(6))
        with pytest.raises(Lagged, match="2"):
            await sub.recv_async()
        assert await sub.recv_async() == 2

    asyncio.run(main())
