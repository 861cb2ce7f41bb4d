"""What docs/work.md shows is what one sees: its tutorial is run as it is printed, and its agent does what the page says."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import pytest

from tallystick import ledger, memory, work
from tallystick.db import Database
from tallystick.sdk import Agent
from tallystick.worker import run_agents
from tests.conftest import ROOT
from tests.processes import keepers, wait_until
from tests.serving import fund
from tests.waiting import until

PAGE = (ROOT / "docs/work.md").read_text("utf-8")
_END = "@@@ next @@@"
_VARIES = (
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(,\d+)?", "TIME"),
    (r"@\S+:\d+", "@HOST"),
    (r"by cli:\S+", "by cli:ME"),
    (r"\b\d+(\.\d)? (ms|s|min)\b", "LENGTH"),
    (r" +", " "),
)


def shown(section: str) -> list[tuple[str, str]]:
    """The commands of a section, each with what is printed below it."""
    text = PAGE.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found[-1][0].endswith("\\"):
            found[-1] = (f"{found[-1][0]}\n{line}", [])
        else:
            found[-1][1].append(line)
    return [(command, same("\n".join(output))) for command, output in found]


def same(output: str) -> str:
    """Output without what differs from one run to the next."""
    for pattern, instead in _VARIES:
        output = re.sub(pattern, instead, output)
    return "\n".join(line.strip() for line in output.strip().splitlines() if line.strip())


def played(commands: list[str]) -> str:
    """All that the commands print, one after the other in one shell, in the folder of the repository."""
    script = "trap 'kill $(jobs -p) 2>/dev/null' EXIT\n" + "".join(f"{command}\necho '{_END}'\n" for command in commands)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TALLYSTICK_", "DATABASE_URL"))}
    with tempfile.TemporaryDirectory(prefix="tallystick-") as folder:
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=ROOT,
            env={**kept, "TMPDIR": folder},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            output, errors = process.communicate(timeout=240)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        for data in Path(folder).glob("*/data"):
            wait_until(lambda data=data: not keepers(data.resolve()), "the keeper to end")  # type: ignore[misc]
    assert process.returncode == 0, errors
    return output


@pytest.mark.faults
def test_the_tutorial_shows_what_one_sees() -> None:
    told = shown("Tutorial: an agent is killed in the middle")
    printed = played([command for command, _ in told]).split(f"{_END}\n")
    assert len(told) > 5
    assert [(command, same(output)) for (command, _), output in zip(told, printed, strict=False)] == told


def _agent() -> Agent:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    module = types.ModuleType("refund_agent")
    sys.modules[module.__name__] = module
    exec(compile(block, "docs/work.md", "exec"), module.__dict__)
    agent = module.__dict__["agent"]
    assert isinstance(agent, Agent)
    return agent


@pytest.mark.parametrize("approved", [True, False])
async def test_the_agent_of_the_page_does_what_the_page_says(db: Database, approved: bool) -> None:
    await fund(db)
    payload: dict[str, Any] = {"payment": "P-1", "customer": "ALICE", "amount": 12, "hold_s": 0}
    async with db.write() as tx:
        (task_id,) = await work.enqueue(tx, "me", [work.NewTask("refund-agent", "refund", payload)])
    stop = asyncio.Event()
    worker = asyncio.create_task(run_agents(db, [_agent()], stop, name="w"))

    async def task() -> work.Task:
        async with db.read() as tx:
            return await work.get(tx, task_id)

    async def waits_for(kind: str) -> bool:
        return (await task()).waiting_for == kind

    await until(lambda: waits_for("event"))
    async with db.write() as tx:
        await memory.publish(tx, "bank", agent="settler", type="payment.settled", payload={"payment": "P-2"})
        await memory.publish(tx, "bank", agent="settler", type="payment.settled", payload={"payment": "P-1"})
    await until(lambda: waits_for("approval"))
    async with db.write() as tx:
        (question,) = await work.questions(tx)
        await work.answer(tx, task_id, question.step, "anna", approved=approved)

    async def ended() -> work.Task | None:
        found = await task()
        return found if found.finished_at else None

    found = await until(ended)
    stop.set()
    await worker
    async with db.read() as reader:
        posted = (await ledger.account(reader, "ALICE")).posted
        steps = [step.name for step in await work.steps(reader, task_id) if step.state == "done"]
    assert steps == ["risk", "letter", "second thoughts", "event:payment.settled", "approval"]
    if approved:
        assert (found.status, found.result) == ("done", {"letter": f"letter {task_id}:letter to ALICE"})
        assert posted == 101_200
    else:
        assert (found.status, found.error, posted) == ("failed", "refused: a person said no", 100_000)
    assert (question.question, found.attempts) == ({"refund": 12, "risk": question.question["risk"]}, 1)
