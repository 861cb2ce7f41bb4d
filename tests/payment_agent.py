"""An agent that does all that an agent can: a prompt, a step, a call outside, a question to people, effects of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

from tallystick import work
from tallystick.db import Database
from tallystick.sdk import Agent, ModelReply, Task, TaskFailed, Transfer
from tallystick.worker import run_agents
from tests.waiting import until

agent = Agent("payment-agent", version="1")
CALLED: list[str] = []
"""The functions of steps that were called, for tests that say that none was."""


@agent.task("pay", max_attempts=3, timeout_s=60, backoff_s=0)
async def pay(task: Task[dict[str, Any]]) -> None:
    """Look, ask a model, ask people, tell the world, pay."""
    score = await task.step("score", score_of, task.payload["amount"])
    opinion = await task.model(
        "opinion", stub_model, provider="example", model="stub-1", messages=[{"role": "user", "content": f"Score {score}?"}]
    )
    if task.payload.get("fails") == "once" and task.attempt == 1:
        raise RuntimeError("not yet")
    if task.payload.get("fails") == "for good":
        raise TaskFailed("hopeless: it will never do")
    if task.payload.get("ask"):
        said = await task.approval({"pay": task.payload["amount"]})
        if not said.approved:
            return
    await task.call("tell", tell, opinion.output)
    async with task.finish() as effects:
        effects.propose(Transfer("ALICE", "BOB", Decimal(task.payload["amount"]), "CZK", "for the test"))
        effects.event("payment.made", {"task": str(task.id)})
        effects.enqueue("payment-agent", "check", {"of": task.id})
        effects.complete({"score": score, "opinion": opinion.output})


@agent.task("check")
async def check(task: Task[dict[str, Any]]) -> dict[str, Any]:
    """Say what was asked for."""
    return {"checked": task.payload["of"]}


@agent.task("blocking")
def blocking(task: Any) -> dict[str, Any]:
    """The same things from a handler that blocks."""
    return {"score": task.step("score", score_of, "3")}


def score_of(amount: str) -> int:
    CALLED.append("score_of")
    return 10 * int(Decimal(amount))


async def stub_model(*, model: str, messages: Any) -> ModelReply:
    CALLED.append("stub_model")
    return ModelReply("pay", input_tokens=3, output_tokens=1, response_model=model, finish_reasons=("stop",))


async def tell(opinion: str, *, key: str) -> str:
    CALLED.append("tell")
    return f"told {opinion} under {key}"


async def enqueue(db: Database, type: str = "pay", **payload: Any) -> int:
    async with db.write() as tx:
        (task_id,) = await work.enqueue(tx, "anna", [work.NewTask(agent.name, type, {"amount": "2.50", **payload})])
    return task_id


async def in_status(db: Database, task_id: int, *statuses: str) -> work.Task:
    """Wait until the task is in one of these."""

    async def found() -> work.Task | None:
        async with db.read() as tx:
            task = await work.get(tx, task_id)
        return task if task.status in statuses else None

    return await until(found)


@asynccontextmanager
async def working(db: Database) -> AsyncIterator[None]:
    """A worker at work."""
    stop = asyncio.Event()
    running = asyncio.create_task(run_agents(db, [agent], stop, name="w", lease_s=30))
    try:
        yield
    finally:
        stop.set()
        await running


async def answer(db: Database, task_id: int, *, approved: bool = True) -> None:
    async with db.write() as tx:
        await work.answer(tx, task_id, "approval", "bert", approved=approved)
