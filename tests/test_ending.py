"""Tasks of the event loop that are to end, end."""

from __future__ import annotations

import asyncio

from tallystick.kit import end


async def test_a_task_that_loses_a_cancellation_is_ended_all_the_same() -> None:
    lost = 0

    async def deaf() -> None:
        nonlocal lost
        while lost < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost += 1
        await asyncio.Event().wait()

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    await end([task])
    assert task.cancelled()
    assert lost == 2


async def test_what_an_ended_task_raises_is_not_passed_on() -> None:
    async def fails() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ZeroDivisionError

    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    await end([task, asyncio.create_task(asyncio.sleep(3600))])
    assert isinstance(task.exception(), ZeroDivisionError)
