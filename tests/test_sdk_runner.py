"""The runner: bounded, patient with its backend, strict with attempts that are over, and clean when it stops."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import pytest

from tallystick.sdk import Agent, AttemptOver, Done, Failed, RetryLater, Returned, Runner, Stuck, Task, TaskFailed, crew, runner
from tallystick.sdk.threads import Threads
from tests.memory_backend import MemoryBackend, running, settle_down

Handler = Callable[[Task[Any]], Any]
STOPPED = "worker_stopped: the worker that ran it was stopped"


async def test_no_more_handlers_run_than_there_are_places() -> None:
    at_once = most = 0
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await settle_down()
        at_once -= 1

    tasks = [backend.add() for _ in range(40)]
    async with running(backend, _agent(handler), concurrency=7):
        await backend.until(lambda: all(backend.places[task_id] == "done" for task_id in tasks))
    assert most == 7


async def test_tasks_are_claimed_into_free_places_only() -> None:
    go_on = asyncio.Event()
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> None:
        await go_on.wait()

    tasks = [backend.add() for _ in range(10)]
    async with running(backend, _agent(handler), concurrency=4):
        await backend.until(lambda: sum(place == "run" for place in backend.places.values()) == 4)
        await settle_down()
        assert sum(place == "ready" for place in backend.places.values()) == 6
        go_on.set()
        await backend.until(lambda: all(backend.places[task_id] == "done" for task_id in tasks))


async def test_a_handler_that_waits_holds_up_none_behind_it() -> None:
    last_is_done = asyncio.Event()
    backend = MemoryBackend()

    async def handler(task: Task[dict[str, bool]]) -> None:
        if task.payload.get("last"):
            last_is_done.set()
        else:
            await last_is_done.wait()

    tasks = [backend.add(payload={"last": number == 19}) for number in range(20)]
    async with running(backend, _agent(handler), concurrency=20):
        await backend.until(lambda: all(backend.places[task_id] == "done" for task_id in tasks))


async def test_ends_gather_while_a_batch_commits_and_go_out_together() -> None:
    backend = MemoryBackend()
    backend.gates["settle"] = asyncio.Event()

    async def handler(task: Task[None]) -> None: ...

    async with running(backend, _agent(handler), concurrency=30, max_batch=12):
        first = backend.add()
        await backend.reached["settle"].wait()
        others = [backend.add() for _ in range(20)]
        await backend.until(lambda: "ready" not in backend.places.values())
        await settle_down()
        backend.gates["settle"].set()
        await backend.until(lambda: all(backend.places[each] == "done" for each in [first, *others]))
    assert backend.batches == [1, 12, 8]


async def test_claims_pause_while_more_ends_are_unsettled_than_a_few_batches() -> None:
    backend = MemoryBackend()
    backend.gates["settle"] = asyncio.Event()

    async def handler(task: Task[None]) -> None: ...

    for _ in range(100):
        backend.add()
    async with running(backend, _agent(handler), concurrency=10, max_batch=4):
        await backend.until(lambda: backend.asked["claim"] >= 4)
        await settle_down()
        # Four batches are enough for it to pause; what it had in its places by then has ended as well.
        assert 16 <= sum(place == "run" for place in backend.places.values()) <= 16 + 10
        backend.gates["settle"].set()
        await backend.until(lambda: set(backend.places.values()) == {"done"})


async def test_an_end_is_kept_while_the_backend_is_away_and_settled_once() -> None:
    backend = MemoryBackend()
    backend.away = {"settle"}

    async def handler(task: Task[None]) -> str:
        return "done"

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await backend.until(lambda: backend.asked["settle"] == 3)
        assert backend.places[task_id] == "run"
        backend.away.clear()
        await backend.at(task_id, "done")
    assert len(backend.ends) == 1


async def test_an_end_whose_answer_is_lost_is_asked_about_again_and_is_no_lost_fence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = MemoryBackend()
    backend.forgetful = {"settle"}

    async def handler(task: Task[None]) -> str:
        return "done"

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await backend.until(lambda: backend.asked["settle"] == 2)
    assert backend.places[task_id] == "done"
    assert len(backend.ends) == 1
    assert "fence lost" not in caplog.text


async def test_an_end_that_comes_too_late_changes_nothing_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> str:
        began.set()
        await go_on.wait()
        return "late"

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await began.wait()
        backend.take_away(task_id, told=False)
        go_on.set()
        await backend.until(lambda: backend.asked["settle"] == 1)
    assert backend.places[task_id] == "taken"
    assert "fence lost: the end of task 1 (fence 1) came too late" in caplog.text


async def test_of_a_batch_only_the_end_that_is_refused_fails() -> None:
    class Picky(MemoryBackend):
        async def settle(self, ends: Any) -> list[bool]:
            if any(isinstance(end, Done) and end.result == "bad" for end in ends):
                raise ValueError("cannot be stored")
            return await super().settle(ends)

    backend = Picky(max_attempts=1)
    backend.gates["settle"] = asyncio.Event()

    async def handler(task: Task[dict[str, str]]) -> str:
        return task.payload["gives"]

    tasks = [backend.add(payload={"gives": "bad" if number == 5 else "good"}) for number in range(9)]
    async with running(backend, _agent(handler), concurrency=18):
        await backend.until(lambda: "ready" not in backend.places.values())
        await settle_down()
        backend.gates["settle"].set()
        await backend.until(lambda: set(backend.places.values()) == {"done", "dead"})
    assert [task_id for task_id in tasks if backend.places[task_id] == "dead"] == [tasks[5]]
    assert backend.errors[tasks[5]] == ["result_refused: ValueError: cannot be stored"]


async def test_the_runner_waits_for_a_backend_that_is_away_from_the_start() -> None:
    backend = MemoryBackend()
    backend.away = {"open", "claim"}

    async def handler(task: Task[None]) -> None: ...

    task_id = backend.add()
    async with running(backend, _agent(handler)):
        await backend.until(lambda: backend.asked["open"] == 2)
        backend.away.discard("open")
        await backend.until(lambda: backend.asked["claim"] == 2)
        backend.away.clear()
        await backend.at(task_id, "done")


async def test_a_runner_that_is_stopped_before_its_backend_is_there_returns() -> None:
    backend = MemoryBackend()
    backend.away = {"open"}

    async def handler(task: Task[None]) -> None: ...

    async with running(backend, _agent(handler)):
        await backend.reached["open"].wait()
    assert backend.asked["close"] == 0


async def test_an_attempt_that_takes_too_long_is_cancelled_and_counted_as_that() -> None:
    cancelled: list[int] = []
    backend = MemoryBackend(max_attempts=2, timeout_s=0.02)

    async def handler(task: Task[None]) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(task.attempt)
            raise

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await backend.at(task_id, "dead")
    assert cancelled == [1, 2]
    assert backend.errors[task_id] == ["timeout: the attempt took longer than 0.02 s"] * 2
    assert [end.kind for end in backend.ends if isinstance(end, Failed)] == ["timeout"] * 2


async def test_one_timer_keeps_all_deadlines_in_whatever_order_they_come() -> None:
    over: list[int] = []
    backend = MemoryBackend(max_attempts=1)

    async def handler(task: Task[None]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            over.append(task.id)

    async with running(backend, _agent(handler)):
        for timeout_s in (60.0, 0.06, 0.02, 0.04):
            backend.timeout_s = timeout_s
            await backend.at(backend.add(), "run")
        await backend.until(lambda: [backend.places[task_id] for task_id in (2, 3, 4)] == ["dead"] * 3)
        assert sorted(over) == [2, 3, 4]
        assert backend.places[1] == "run"
        backend.take_away(1)


async def test_a_handler_that_ignores_its_cancellation_can_write_nothing_after_its_attempt() -> None:
    caught: list[type[BaseException]] = []
    ended = asyncio.Event()
    backend = MemoryBackend(max_attempts=1, timeout_s=0.01)

    async def handler(task: Task[None]) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                await task.step("late", int)
            except BaseException as error:  # noqa: BLE001 - a handler as rude as can be
                caught.append(type(error))
        ended.set()
        return "late"

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await ended.wait()
        await backend.at(task_id, "dead")
    assert caught == [AttemptOver]
    assert backend.lines[task_id] == []
    assert len(backend.ends) == 1


async def test_what_is_left_of_a_handler_that_has_returned_can_write_nothing() -> None:
    caught: list[type[BaseException]] = []
    ended, go_on = asyncio.Event(), asyncio.Event()
    left: set[asyncio.Task[None]] = set()
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> None:
        async def lingers() -> None:
            await go_on.wait()
            try:
                await task.step("late", int)
            except BaseException as error:  # noqa: BLE001
                caught.append(type(error))
            ended.set()

        left.add(asyncio.create_task(lingers()))

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await backend.at(task_id, "done")
        go_on.set()
        await ended.wait()
    assert caught == [AttemptOver]
    assert backend.lines[task_id] == []


async def test_a_worker_that_lost_its_lease_stops_all_that_it_ran_and_goes_on_with_new_tasks() -> None:
    cancelled: list[int] = []
    backend = MemoryBackend()

    async def handler(task: Task[dict[str, bool]]) -> None:
        if task.payload.get("quick"):
            return
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(task.id)
            raise

    async with running(backend, _agent(handler)):
        tasks = [backend.add() for _ in range(3)]
        await backend.until(lambda: all(backend.places[each] == "run" for each in tasks))
        await settle_down()
        backend.lose_all()
        await backend.until(lambda: backend.asked["claim"] > 1)
        await backend.at(backend.add(payload={"quick": True}), "done")
        assert sorted(cancelled) == tasks
    assert all(backend.places[each] == "taken" for each in tasks)


async def test_a_task_that_has_failed_for_good_is_not_tried_again() -> None:
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> None:
        raise TaskFailed("unknown_account: ACC9")

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await backend.at(task_id, "failed")
    assert backend.ends == [Failed(backend.ends[0].attempt, "unknown_account: ACC9", final=True)]


async def test_a_handler_may_say_when_to_try_again() -> None:
    backend = MemoryBackend(max_attempts=1)

    async def handler(task: Task[None]) -> None:
        raise RetryLater("the bank is closed", in_s=3600)

    async with running(backend, _agent(handler)):
        await backend.at(backend.add(), "dead")
    assert backend.ends == [Failed(backend.ends[0].attempt, "RetryLater: the bank is closed", retry_in_s=3600)]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), asyncio.CancelledError("by itself"), BaseException("odd")])
async def test_whatever_a_handler_raises_ends_its_attempt_and_not_the_worker(error: BaseException) -> None:
    backend = MemoryBackend(max_attempts=1)

    async def handler(task: Task[dict[str, bool]]) -> None:
        if not task.payload:
            raise error

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await backend.at(task_id, "dead")
        await backend.at(backend.add(payload={"good": True}), "done")
    assert backend.errors[task_id] == [f"{type(error).__name__}: {error}"]


async def test_a_group_of_one_error_is_told_as_that_error() -> None:
    backend = MemoryBackend(max_attempts=1)

    async def fails() -> None:
        raise ValueError("no")

    async def handler(task: Task[None]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await backend.at(task_id, "dead")
    assert backend.errors[task_id] == ["ValueError: no"]


async def test_the_log_tells_where_a_handler_failed_and_not_what_its_message_says(caplog: pytest.LogCaptureFixture) -> None:
    backend = MemoryBackend(max_attempts=1)

    iban = "CZ6508000000192000145399"

    async def handler(task: Task[None]) -> None:
        raise ValueError(iban)

    async with running(backend, _agent(handler)):
        await backend.at(backend.add(), "dead")
    assert "attempt 1 of task 1 failed: ValueError" in caplog.text
    assert "raise ValueError(iban)" in caplog.text
    assert iban not in caplog.text


async def test_what_a_handler_sets_for_its_context_does_not_reach_the_next_task() -> None:
    customer: contextvars.ContextVar[str] = contextvars.ContextVar("customer", default="nobody")
    seen: list[str] = []
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> None:
        seen.append(customer.get())
        customer.set(f"customer {task.id}")

    tasks = [backend.add() for _ in range(5)]
    async with running(backend, _agent(handler)):
        await backend.until(lambda: all(backend.places[task_id] == "done" for task_id in tasks))
    assert seen == ["nobody"] * 5


async def test_a_cancellation_that_a_handler_leaves_behind_does_not_reach_the_next_task() -> None:
    backend = MemoryBackend(max_attempts=1)

    async def handler(task: Task[dict[str, bool]]) -> None:
        if task.payload:
            me = asyncio.current_task()
            assert me is not None
            me.cancel()
        else:
            await asyncio.sleep(0)

    tasks = [backend.add(payload={"rude": True} if number % 2 else {}) for number in range(6)]
    async with running(backend, _agent(handler), concurrency=12):
        await backend.until(lambda: all(backend.places[task_id] == "done" for task_id in tasks))
    assert len(backend.ends) == 6


def test_a_task_is_tried_again_after_a_time_that_can_be_waited_for() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        RetryLater("later", in_s=-1)


async def test_a_backend_that_cannot_be_left_does_not_hide_what_ended_the_runner(caplog: pytest.LogCaptureFixture) -> None:
    class Sticky(MemoryBackend):
        async def close(self) -> None:
            raise ZeroDivisionError

    backend = Sticky()

    async def handler(task: Task[None]) -> None: ...

    async with running(backend, _agent(handler)):
        await backend.at(backend.add(), "done")
    assert "the backend could not be left" in caplog.text


async def test_a_handler_can_use_what_needs_a_task_of_asyncio_before_it_waits_for_anything() -> None:
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> str:
        async with asyncio.timeout(60):
            await settle_down()
        return type(asyncio.current_task()).__name__

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await backend.at(task_id, "done")
    assert backend.results[task_id] == "Task"


async def test_a_runner_that_is_told_to_stop_lets_what_runs_end_and_claims_no_more() -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> str:
        began.set()
        await go_on.wait()
        return "ended well"

    async with running(backend, _agent(handler), concurrency=1) as stop:
        first, second = backend.add(), backend.add()
        await began.wait()
        stop.set()
        await settle_down()
        go_on.set()
        await backend.at(first, "done")
    assert backend.results[first] == "ended well"
    assert backend.places[second] == "ready"
    assert not backend.is_open


async def test_what_does_not_end_in_its_grace_time_is_cancelled_and_given_back_uncounted() -> None:
    cancelled: list[int] = []
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(task.id)
            raise

    async with running(backend, _agent(handler), grace_s=0.01) as stop:
        task_id = backend.add()
        await backend.at(task_id, "run")
        await settle_down()
        stop.set()
    assert cancelled == [task_id]
    assert backend.ends == [Returned(backend.ends[0].attempt, STOPPED)]
    assert backend.places[task_id] == "ready"
    again = await backend.claim(1, 0)
    assert again[0].attempt == 1


async def test_what_has_not_begun_when_a_runner_stops_is_given_back() -> None:
    backend = MemoryBackend()
    places = crew.Crew(backend, {}, backend.ends.append, limit=2, threads=Threads(1))
    backend.add()
    backend.add()
    places.take_on(await backend.claim(2, 0))
    places.give_back_waiting("stopping")
    await places.idle()
    await settle_down()
    assert backend.ends == [Returned(end.attempt, "stopping") for end in backend.ends]
    assert len(backend.ends) == 2
    assert places.free == 2


async def test_ends_are_settled_before_the_runner_leaves() -> None:
    backend = MemoryBackend()
    backend.away = {"settle"}

    async def handler(task: Task[None]) -> str:
        return "kept"

    async with running(backend, _agent(handler)) as stop:
        task_id = backend.add()
        await backend.until(lambda: backend.asked["settle"] == 1)
        stop.set()
        await settle_down()
        backend.away.clear()
    assert backend.results[task_id] == "kept"


async def test_a_runner_that_is_cancelled_gives_back_what_it_holds() -> None:
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> None:
        await asyncio.Event().wait()

    run = asyncio.create_task(Runner(backend, [_agent(handler)]).run(asyncio.Event()))
    task_id = backend.add()
    await backend.at(task_id, "run")
    await settle_down()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert backend.places[task_id] == "ready"
    assert not backend.is_open


async def test_a_runner_whose_places_are_all_taken_by_handlers_that_do_not_end_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(crew, "_LINGER_S", 0.01)
    monkeypatch.setattr(runner, "_CANCELLED_S", 0.01)
    backend = MemoryBackend(timeout_s=0.01)
    let_go = asyncio.Event()

    async def handler(task: Task[None]) -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    backend.add()
    run = asyncio.create_task(Runner(backend, [_agent(handler)], concurrency=1).run(asyncio.Event()))
    await backend.until(lambda: backend.asked["close"] == 1)
    let_go.set()
    with pytest.raises(Stuck, match="1 handlers go on"):
        await run
    assert "goes on 0.01 s after its attempt was over" in caplog.text


async def test_a_defect_of_the_backend_is_waited_out_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryBackend):
        async def claim(self, limit: int, wait_s: float) -> Any:
            if self.asked["claim"] == 0:
                self.asked["claim"] += 1
                raise ZeroDivisionError
            return await super().claim(limit, wait_s)

    backend = Broken()

    async def handler(task: Task[None]) -> None: ...

    async with running(backend, _agent(handler)):
        await backend.at(backend.add(), "done")
    assert "could not claim, and tries again" in caplog.text


async def test_a_task_of_a_type_that_nobody_handles_fails_and_says_why() -> None:
    backend = MemoryBackend(max_attempts=1)

    async def handler(task: Task[None]) -> None: ...

    async with running(backend, _agent(handler)):
        task_id = backend.add("other")
        await backend.at(task_id, "dead")
    assert backend.errors[task_id] == ["LookupError: this worker has no handler of 'other' for 'agent'"]


def test_a_runner_that_could_run_nothing_is_refused() -> None:
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> None: ...

    with pytest.raises(ValueError, match="there is no handler to run"):
        Runner(backend, [Agent("agent", version="1")])
    with pytest.raises(ValueError, match="'agent' is there twice with handlers of 'work'"):
        Runner(backend, [_agent(handler), _agent(handler)])
    with pytest.raises(ValueError, match="at least 1"):
        Runner(backend, [_agent(handler)], concurrency=0)


def _agent(handler: Handler) -> Agent:
    agent = Agent("agent", version="1")

    @agent.task("work")
    async def work(task: Task[dict[str, Any]]) -> Any:
        return await handler(task)

    return agent
