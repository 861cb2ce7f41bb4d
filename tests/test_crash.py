"""Fifty clients move money while everything is killed and started again: what was acknowledged is there, once.

`TALLYSTICK_SOAK_S` makes it longer; `make soak` runs it for a minute.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.processes import keepers, kill, postmaster, servers, wait_until
from tests.test_commands import COMMAND, _environment, call, free_port

pytestmark = pytest.mark.faults

CLIENTS = 50
ACCOUNTS = [f"crash-{number}" for number in range(20)]
SECONDS = float(os.environ.get("TALLYSTICK_SOAK_S", "8"))
KILLS = 3


@dataclass
class Seen:
    """What the clients were told: for each key the transfer it became, and how often a call was sent again."""

    transfers: dict[str, tuple[str, str, str, str, str]] = field(default_factory=dict)
    contradictions: list[str] = field(default_factory=list)
    sent_again: int = 0


async def _request(port: int, body: bytes, key: str) -> tuple[int, dict[str, str]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"POST /v1/transfers HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\nidempotency-key: {key}\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
        answer = await asyncio.wait_for(reader.read(), 30)
        top, _, content = answer.partition(b"\r\n\r\n")
        return int(top[9:12]), json.loads(content)
    finally:
        writer.close()


async def _client(number: int, port: int, enough: asyncio.Event, seen: Seen) -> None:
    chance = random.Random(number)
    count = 0
    while not enough.is_set():
        debit, credit = chance.sample(ACCOUNTS, 2)
        amount = f"{chance.randrange(1, 40_000) / 100:.2f}"
        key = f"client-{number}-{count}"
        count += 1
        body = json.dumps(
            {"from_account": debit, "to_account": credit, "amount": {"amount": amount, "currency": "USD"}}
        ).encode()
        answers: list[tuple[str, str, str, str, str]] = []
        # Each call is made until it is acknowledged, and about one in five is made once more to see the same answer.
        wanted = 2 if chance.random() < 0.2 else 1
        while len(answers) < wanted:
            try:
                status, answer = await _request(port, body, key)
                if status == 201:
                    answers.append((answer["id"], answer["status"], debit, credit, amount))
                    continue
                assert status == 503, (status, answer)
            except (OSError, ValueError, EOFError, TimeoutError):
                pass
            seen.sent_again += 1
            await asyncio.sleep(0.05)
        if len(set(answers)) != 1:
            seen.contradictions.append(f"{key}: {answers}")
        seen.transfers[key] = answers[0]


def _start(data: Path, port: int) -> subprocess.Popen[bytes]:
    arguments = ["serve", "--open", "--port", str(port), "--data", str(data)]
    with (data.parent / "server.log").open("ab") as log:
        return subprocess.Popen([*COMMAND, *arguments], stdout=log, stderr=log, env=_environment(), cwd=tempfile.gettempdir())


def _ready(port: int) -> bool:
    try:
        return call(f"http://127.0.0.1:{port}/readyz")[0] == 200
    except OSError:
        return False


def _prepare(port: int) -> None:
    base = f"http://127.0.0.1:{port}"
    equity = {"id": "crash-equity", "currency": "USD", "kind": "internal"}
    for account in [equity, *({"id": name, "currency": "USD"} for name in ACCOUNTS)]:
        status, answer = call(f"{base}/v1/accounts", account)
        assert status == 201, answer
    for name in ACCOUNTS:
        body = {"from_account": "crash-equity", "to_account": name, "amount": {"amount": "1000.00", "currency": "USD"}}
        status, answer = call(f"{base}/v1/transfers", body, **{"idempotency-key": f"opening-{name}"})
        assert answer["status"] == "posted", answer


async def _run(data: Path, port: int, server: subprocess.Popen[bytes]) -> tuple[Seen, int, subprocess.Popen[bytes]]:
    seen, kills, chance = Seen(), 0, random.Random(1797)
    deadline, enough = time.monotonic() + SECONDS, asyncio.Event()
    clients = [asyncio.create_task(_client(number, port, enough, seen)) for number in range(CLIENTS)]
    while time.monotonic() < deadline or kills < KILLS:
        await asyncio.sleep(chance.uniform(1, 2.5))
        victims = chance.choice([["api"], ["postgres"], ["api", "postgres"], ["api", "keeper", "postgres"]])
        kills += 1
        if "keeper" in victims:
            for pid in keepers(data):
                kill(pid)
        if "api" in victims:
            server.kill()
            server.wait()
        if "postgres" in victims:
            for pid in servers(data) if "keeper" in victims else [postmaster(data)]:
                kill(pid)
        if "api" in victims:
            server = _start(data, port)
        while not await asyncio.to_thread(_ready, port):
            await asyncio.sleep(0.05)
    enough.set()
    # Clients end when what they sent last is acknowledged.
    await asyncio.wait_for(asyncio.gather(*clients), 120)
    return seen, kills, server


def _audit(port: int, seen: Seen) -> None:
    base = f"http://127.0.0.1:{port}"
    assert seen.contradictions == []
    balances = dict.fromkeys(ACCOUNTS, 100_000)
    for _, status, debit, credit, amount in seen.transfers.values():
        if status == "posted":
            cents = round(float(amount) * 100)
            balances[debit] -= cents
            balances[credit] += cents
    found = {name: round(float(call(f"{base}/v1/accounts/{name}")[1]["posted"]) * 100) for name in ACCOUNTS}
    assert found == balances
    assert min(found.values()) >= 0
    stored: list[dict[str, str]] = []
    cursor = ""
    while cursor is not None:
        page = call(f"{base}/v1/transfers?limit=200{cursor and f'&cursor={cursor}'}")[1]
        stored += page["items"]
        cursor = page["next_cursor"]
    ids = Counter(transfer["id"] for transfer in stored)
    assert max(ids.values()) == 1
    # Every transfer that is stored was acknowledged, and the other way round: twenty opening ones apart, keys and rows match.
    assert len(stored) == len(seen.transfers) + len(ACCOUNTS)
    assert {transfer[0] for transfer in seen.transfers.values()} <= set(ids)


def test_what_was_acknowledged_is_there_once_whatever_was_killed() -> None:
    with tempfile.TemporaryDirectory(prefix="tallystick-") as folder:
        data, port = Path(folder).resolve() / "data", free_port()
        server = _start(data, port)
        wait_until(lambda: _ready(port), "the server to be ready")
        _prepare(port)
        try:
            seen, kills, server = asyncio.run(_run(data, port, server))
            _audit(port, seen)
            outcomes = Counter(transfer[1] for transfer in seen.transfers.values())
            print(f"{kills} kills, {len(seen.transfers)} transfers {dict(outcomes)}, {seen.sent_again} calls sent again")
            assert len(seen.transfers) > CLIENTS
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
            wait_until(lambda: not keepers(data) and not servers(data), "everything to stop")
