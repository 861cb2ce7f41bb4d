"""One of the processes that `test_ledger_stress.py` starts and kills: it posts batches until the file `stop` is there.

In mode `move` it moves money between accounts, by orders that could deadlock; in mode `drain` it takes coins out of them until
each has refused. It writes to `record` what it is about to ask for and what it was told.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
from collections.abc import Sequence
from pathlib import Path

from tallystick import ledger
from tallystick.db import Database
from tallystick.kit import TallystickError
from tests.permitted import PermittedDatabase

ACCOUNTS = [f"stress-{number}" for number in range(10)]
SINK = "stress-sink"
COIN = 7


def write(url: str, name: str, mode: str, record: Path, stop: Path) -> None:
    # The pool reports each attempt to reach a server that was just killed.
    logging.disable(logging.WARNING)
    asyncio.run(_write_until(url, name, mode, record, stop))


async def _write_until(url: str, name: str, mode: str, record: Path, stop: Path) -> None:
    descriptor = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    chance = random.Random(name)
    db = await _opened(url)
    ids = await _ids(db)
    refused: set[int] = set()
    number = 0
    while not stop.exists() and len(refused) < len(ACCOUNTS):
        batch = []
        for _ in range(chance.randint(1, 20)):
            number += 1
            entries = _move(chance, ids) if mode == "move" else _drain(chance, ids)
            batch.append(ledger.Journal("stress", entries, "stress", key=f"{name}-{number}"))
        _note(descriptor, {"asked": [[journal.key, list(journal.entries)] for journal in batch]})
        answers = await _post(db, batch)
        _note(descriptor, {"told": [[j.key, a.refusal] for j, a in zip(batch, answers, strict=True)]})
        if mode == "drain":
            refused |= {j.entries[0][0] for j, a in zip(batch, answers, strict=True) if a.refusal == "insufficient_funds"}
    _note(descriptor, {"ended": True})
    await db.close()


def _move(chance: random.Random, ids: dict[str, int]) -> list[tuple[int, int]]:
    """Money from one account to another, or to two; named upward, downward or in any order."""
    several = [ids[account] for account in chance.sample(ACCOUNTS, chance.choice((2, 2, 3)))]
    amount = chance.randint(1, 300)
    first = amount if len(several) == 2 else max(amount // 2, 1)
    entries = [(several[0], -amount if len(several) == 2 else -(first + amount)), (several[1], first)]
    if len(several) == 3:
        entries.append((several[2], amount))
    return sorted(entries, reverse=chance.random() < 0.5) if chance.random() < 0.8 else entries


def _drain(chance: random.Random, ids: dict[str, int]) -> list[tuple[int, int]]:
    return ledger.transfer(debit=ids[chance.choice(ACCOUNTS)], credit=ids[SINK], amount=COIN)


async def _opened(url: str) -> Database:
    while True:
        db = PermittedDatabase(url)
        try:
            await db.open(wait_s=5)
        except TallystickError:
            await db.close()
        else:
            return db


async def _ids(db: Database) -> dict[str, int]:
    while True:
        try:
            async with db.read() as tx:
                return {name: ref.id for name, ref in (await ledger.references(tx, [*ACCOUNTS, SINK])).items()}
        except TallystickError:
            await asyncio.sleep(0.05)


async def _post(db: Database, batch: Sequence[ledger.Journal]) -> list[ledger.Posted]:
    """Ask until there is an answer. A deadlock would be an error here: nothing retries it in silence."""
    while True:
        try:
            async with db.write() as tx:
                return await ledger.post(tx, batch)
        except TallystickError:
            await asyncio.sleep(0.05)


def _note(descriptor: int, line: object) -> None:
    os.write(descriptor, json.dumps(line).encode() + b"\n")
