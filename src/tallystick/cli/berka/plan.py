"""The first pass: read every row, order every account, find what is wrong. Nothing is written to the database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from tallystick.cli.berka import reader, store
from tallystick.cli.berka.bank import Bank
from tallystick.cli.berka.chain import BrokenChain, chain
from tallystick.cli.berka.codes import CODES
from tallystick.cli.berka.lines import Malformed
from tallystick.cli.berka.model import Ordered, Place, Problems, Row, day_of, midnight
from tallystick.cli.berka.progress import Watcher
from tallystick.cli.berka.staging import MAX_FILES, OrderedRows, SeenNumbers, Staging
from tallystick.db import Database
from tallystick.kit import Invalid, loads

_CHUNK = 5_000
_BREATH = 5_000


@dataclass(slots=True)
class Plan:
    """What the first pass decided: every row in its place. `floors` are the lowest balances below zero, in haler."""

    rows: OrderedRows = field(default_factory=OrderedRows)
    accounts: set[int] = field(default_factory=set)
    floors: dict[int, int] = field(default_factory=dict)
    roundings: int = 0
    known: int = 0

    def close(self) -> None:
        self.rows.close()


@dataclass(slots=True)
class Staged:
    """Every row that could be read. Accounts with a row that could not are left out of the chaining: it would only fail."""

    staging: Staging = field(default_factory=Staging)
    incomplete: set[int] = field(default_factory=set)

    def close(self) -> None:
        self.staging.close()


async def stage(paths: Sequence[Path], problems: Problems, watcher: Watcher) -> Staged:
    """Read the files as streams into a sorted stage; what is wrong goes to `problems`."""
    if len(paths) > MAX_FILES:
        raise Invalid("too_many_files", f"a folder may hold {MAX_FILES} files of transactions")
    sizes = [path.stat().st_size for path in paths]
    watcher.begin("reading", sum(sizes))
    staged = Staged()
    seen = SeenNumbers()
    for file, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        for count, found in enumerate(reader.transactions(path, file)):
            _stage_one(found, path, staged, seen, problems)
            if count % _BREATH == 0:
                await asyncio.sleep(0)
        watcher.advance(size)
    return staged


def _stage_one(found: Row | Malformed, path: Path, staged: Staged, seen: SeenNumbers, problems: Problems) -> None:
    if isinstance(found, Malformed):
        problems.add(Place(path.name, found.line).problem(found.reason))
        if len(found.fields) > 1 and found.fields[1].isascii() and found.fields[1].isdigit() and len(found.fields[1]) < 10:
            staged.incomplete.add(int(found.fields[1]))
    elif not seen.add(found.trans_id):
        problems.add(Place(path.name, found.line).problem(f"trans_id {found.trans_id} was read before"))
        staged.incomplete.add(found.account_id)
    else:
        staged.staging.add(found)


async def order(
    database: Database, staged: Staged, bank: Bank, *, paths: Sequence[Path], problems: Problems, watcher: Watcher
) -> Plan:
    """Put the rows of each account in order, going on where the books end; what is wrong goes to `problems`."""
    watcher.begin("chaining", staged.staging.rows)
    plan = Plan()
    async with database.read() as tx:
        imported_before = await store.any_imported(tx)
    for accounts in _chunks(staged.staging.sorted()):
        names = [store.account_name(account_id) for account_id in accounts]
        trans_ids = [row.trans_id for rows in accounts.values() for row in rows] if imported_before else []
        async with database.snapshot() as tx:
            states = {state.name: state for state in await store.account_states(tx, names)}
            known = {row.trans_id: row for row in await store.imported_rows(tx, trans_ids)} if trans_ids else {}
        for account_id, rows in accounts.items():
            state = states.get(store.account_name(account_id))
            _Account(account_id, state, known, plan, problems, paths).order(
                rows,
                is_known=account_id in bank.accounts or not bank.lists_accounts,
                complete=account_id not in staged.incomplete,
            )
        watcher.advance(sum(map(len, accounts.values())))
    return plan


@dataclass(frozen=True, slots=True)
class _Account:
    """One account's rows on their way into the plan."""

    account_id: int
    state: store.AccountState | None
    known: Mapping[int, store.ImportedRow]
    plan: Plan
    problems: Problems
    paths: Sequence[Path]

    def order(self, rows: Sequence[Row], *, is_known: bool, complete: bool) -> None:
        if not is_known and self.state is None:
            for row in rows:
                self._refuse(row, f"unknown account {self.account_id}")
            return
        old = [row for row in rows if row.trans_id in self.known]
        new = [row for row in rows if row.trans_id not in self.known]
        for row in old:
            self._take_known(row, self.known[row.trans_id])
        if complete and new and self._may_go_on(new):
            self._take_new(new)
        self.plan.accounts.add(self.account_id)
        lowest = min(row.balance for row in rows)
        if lowest < 0:
            self.plan.floors[self.account_id] = lowest

    def _take_known(self, row: Row, known: store.ImportedRow) -> None:
        said = (store.account_name(row.account_id), row.amount, midnight(row.day), meta_of(row))
        if said != (known.account, known.total - known.rounding, known.effective_at, _parsed(known.meta)):
            self._refuse(row, f"trans_id {row.trans_id} was imported before, as another row")
        self._take(Ordered(row, known.rounding, known=True))

    def _may_go_on(self, new: Sequence[Row]) -> bool:
        """Whether rows may follow what the books hold: an account that only this import has posted to, up to that day."""
        if self.state is None or self.state.seq == 0:
            return True
        if self.state.last_actor != store.ACTOR or self.state.last_effective_at is None:
            self._refuse(new[0], f"account {self.account_id} was posted to by others; its balances cannot follow the source's")
            return False
        first = min(new, key=lambda row: (row.day, row.trans_id))
        if first.day < day_of(self.state.last_effective_at):
            last = f"{self.state.last_effective_at:%y%m%d}"
            self._refuse(first, f"account {self.account_id} was imported up to {last}, and this row is older")
            return False
        return True

    def _take_new(self, new: Sequence[Row]) -> None:
        start = self.state.posted if self.state is not None else 0
        try:
            for row, rounding in chain(new, start):
                self._take(Ordered(row, rounding, known=False))
        except BrokenChain as broken:
            self._refuse(broken.row, broken.reason)

    def _take(self, ordered: Ordered) -> None:
        self.plan.rows.add(ordered)
        self.plan.roundings += ordered.rounding != 0
        self.plan.known += ordered.known

    def _refuse(self, row: Row, reason: str) -> None:
        self.problems.add(Place(self.paths[row.file].name, row.line).problem(reason))


def meta_of(row: Row) -> dict[str, str]:
    """What a row's journal carries: the source's codes, and nothing about persons."""
    codes = CODES[row.code].meta
    return codes | {"bank": row.bank} if row.bank else codes


@lru_cache(maxsize=10_000)
def _parsed(meta: str | None) -> Any:
    return {} if meta is None else loads(meta)


def _chunks(rows: Iterator[Row]) -> Iterator[dict[int, list[Row]]]:
    """The rows of some accounts at a time: about five thousand rows, and never a part of an account."""
    chunk: dict[int, list[Row]] = {}
    count = 0
    for account_id, group in groupby(rows, key=lambda row: row.account_id):
        chunk[account_id] = list(group)
        count += len(chunk[account_id])
        if count >= _CHUNK:
            yield chunk
            chunk, count = {}, 0
    if chunk:
        yield chunk
