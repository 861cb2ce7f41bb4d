r"""An agent that screens a payment in five steps, each recorded, and leaves its verdict as an event.

The tutorial in docs/work.md runs it, and kills it in the middle:

    tallystick tasks add screening-agent payment.screen \
        '{"payer": "Anna Nováková", "payee": "ACME Trading", "amount": 12500.00, "currency": "CZK"}'
    tallystick worker screening_agent:agent
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel

from tallystick.sdk import Agent, ModelReply, Task

agent = Agent("screening-agent", version="2026-11-20")

WATCHED = {"acme trading": "list A, 2026-03-02"}
USUAL = {"anna nováková": Decimal("9000.00")}


class Payment(BaseModel):
    """What a task is about. A payload that is none of these fails the attempt before the handler begins."""

    payer: str
    payee: str
    amount: Decimal
    currency: str


class Verdict(BaseModel):
    """What the task gives."""

    decision: Literal["clear", "review"]
    reasons: list[str]


@agent.task("payment.screen", max_attempts=3, timeout_s=60)
async def screen(task: Task[Payment]) -> None:
    """Five steps and an end. Run again after a crash, it comes by the same way and reads what is recorded."""
    payment = task.payload
    names = await task.step("names", plain_names, payment.payer, payment.payee)
    hits = await task.step("lists", look_up, names)
    habit = await task.step("habit", compare, names[0], payment.amount)
    opinion = await task.model(
        "opinion",
        stub_model,
        provider="example",
        model="stub-1",
        messages=[{"role": "user", "content": f"Payee {names[1]}, watched: {hits}, amount: {habit}. Clear or review?"}],
    )
    verdict = await task.step("verdict", decide, hits, habit, opinion.output)
    async with task.finish() as effects:
        effects.event("payment.screened", {"task": str(task.id), "decision": verdict.decision})
        effects.complete(verdict)


async def plain_names(*names: str) -> list[str]:
    """The names as lists write them."""
    await _slow("names")
    return [" ".join(name.casefold().split()) for name in names]


async def look_up(names: Sequence[str]) -> dict[str, str]:
    """Which of the names are watched, and where that is written."""
    await _slow("lists")
    return {name: WATCHED[name] for name in names if name in WATCHED}


async def compare(payer: str, amount: Decimal) -> str:
    """How the amount is beside what the payer usually pays."""
    await _slow("habit")
    if payer not in USUAL:
        return "the first payment"
    return "more than usual" if amount > USUAL[payer] else "as usual"


async def stub_model(*, model: str, messages: Sequence[dict[str, Any]]) -> ModelReply:
    """What would ask a model, and asks none: a real one is asked here, with the same arguments."""
    await _slow("opinion")
    answer = "clear" if "watched: {}" in messages[0]["content"] else "review"
    return ModelReply(answer, input_tokens=31, output_tokens=1, response_model=model, finish_reasons=("stop",))


async def decide(hits: dict[str, str], habit: str, opinion: str) -> Verdict:
    """The rule that has the last word, whatever the model says."""
    await _slow("verdict")
    reasons = [f"{name} is on {place}" for name, place in hits.items()]
    if opinion == "review":
        reasons.append(f"the model would have it looked at; the amount is {habit}")
    return Verdict(decision="review" if reasons else "clear", reasons=reasons)


async def _slow(step: str) -> None:
    """Stands for a second of real work, so that there is time to kill the worker in the middle of it."""
    print(f"step {step} begins", flush=True)
    await asyncio.sleep(1)
