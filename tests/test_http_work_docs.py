"""What docs/work-over-http.md shows is what one sees: its commands are run as they are printed, with curl, on a real server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import types

import httpx
import pytest

from tallystick import ledger, memory
from tallystick.client import run_agents
from tallystick.db import Database
from tallystick.sdk import Agent
from tests.conftest import ROOT, TestDatabase
from tests.serving import live
from tests.waiting import until

PAGE = (ROOT / "docs/work-over-http.md").read_text("utf-8")
_END = "@@@ next @@@"


def _shown() -> list[tuple[str, str]]:
    """The commands of the page, each with what is printed below it."""
    found: list[tuple[str, list[str]]] = []
    text = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    for line in (line[4:] for line in text.splitlines() if line.startswith("    ")):
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif _is_open(found[-1][0]):
            found[-1] = (f"{found[-1][0]}\n{line}", [])
        else:
            found[-1][1].append(line)
    return [(command, "\n".join(output)) for command, output in found]


def _is_open(command: str) -> bool:
    """Whether a command goes on in the next line: its quotes are open."""
    return command.count("'") % 2 == 1


async def _bank(db: Database) -> None:
    """The accounts of the demo that the page names."""
    async with db.write() as tx:
        bank, *accounts = await ledger.open_accounts(
            tx,
            [
                ledger.AccountSpec("BANK", "USD", "internal", None),
                *(ledger.AccountSpec(name, "USD") for name in ("ACC123", "ACC999")),
            ],
        )
        journals = [
            ledger.Journal("opening", ledger.transfer(debit=bank.id, credit=account.id, amount=100_000), "test")
            for account in accounts
        ]
        await ledger.post(tx, journals)


def _played(commands: list[str], server: str) -> str:
    script = "trap 'kill $(jobs -p) 2>/dev/null' EXIT\n" + "".join(f"{command}\necho '{_END}'\n" for command in commands)
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=ROOT,
        env={**os.environ, "TALLYSTICK_SERVER": server},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=240)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, errors
    return output


@pytest.mark.faults
@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="curl or jq is not there")
async def test_the_page_shows_what_one_sees(db: Database, database: TestDatabase) -> None:
    await _bank(db)
    told = _shown()
    assert len(told) > 20
    with live(database.app_url, work=True) as base:
        printed = (await asyncio.to_thread(_played, [command for command, _ in told], base)).split(f"{_END}\n")
    assert [(command, output.strip()) for (command, _), output in zip(told, printed, strict=False)] == told
    async with db.read() as tx:
        balances = [(await ledger.account(tx, name)).posted for name in ("ACC123", "ACC999")]
        events = [(event.agent, event.type) for event in await memory.page(tx)]
    assert balances == [99_500, 100_500]
    assert events == [("curl-agent", "payment.screened"), ("fee-agent", "fee.charged")]


async def test_the_agent_of_the_page_runs(db: Database, database: TestDatabase) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    module = types.ModuleType("greeting_agent")
    sys.modules[module.__name__] = module
    exec(compile(block, "docs/work-over-http.md", "exec"), module.__dict__)
    agent = module.__dict__["agent"]
    assert isinstance(agent, Agent)
    stop = asyncio.Event()
    with live(database.app_url) as base:
        running = asyncio.create_task(run_agents([agent], stop, url=base))
        async with httpx.AsyncClient(base_url=base) as client:
            body = {"agent": "greeting-agent", "type": "greet", "payload": {"name": "Anna"}}
            task_id = (await client.post("/v1/tasks", json=body)).json()["id"]

            async def result() -> object:
                return (await client.get(f"/v1/tasks/{task_id}")).json()["result"]

            assert await until(result) == "Good day, Anna"
        stop.set()
        await running
