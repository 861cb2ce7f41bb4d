"""The books against the ledger in plain Python, step by step: after each step both say the same.

`TALLYSTICK_MODEL_STEPS` sets the number of steps: 3,000 in the test command, 10,000 in `make soak`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tallystick import ledger
from tallystick.db import Database
from tallystick.kit import Conflict, Invalid
from tests import ledger_model as pure
from tests.conftest import TestDatabase
from tests.permitted import PermittedDatabase

# A failure is made smaller, which may take minutes, unless it is only wanted to know whether there is one.
PHASES = [phase for phase in Phase if phase is not Phase.shrink or os.environ.get("TALLYSTICK_MODEL_SHRINK") != "0"]
STEPS = int(os.environ.get("TALLYSTICK_MODEL_STEPS", "3000"))
STEPS_A_RUN = 50
PARTS = 4

ACCOUNTS: dict[str, tuple[str, int | None]] = {
    "bank": ("CZK", None),
    "alice": ("CZK", 0),
    "bob": ("CZK", 0),
    "carol": ("CZK", -100),
    "fx-czk": ("CZK", None),
    "fx-usd": ("USD", None),
    "dora": ("USD", 0),
}
Status = Literal["open", "frozen", "closed"]
STATUSES: tuple[Status, ...] = ("open", "open", "open", "frozen", "closed")
NOBODY = "nobody"
CROWNS = ("bank", "alice", "bob", "carol", "fx-czk")
DAYS = [datetime(2020, month, 1, tzinfo=UTC) for month in (1, 4, 7, 10)]
TABLES = (
    "entry",
    "journal",
    "refusal",
    "balance",
    "account_change",
    "open_hold",
    "hold_change",
    "hold",
    "closed_period",
    "account",
)

names = st.sampled_from((*ACCOUNTS, NOBODY)) | st.sampled_from(CROWNS)
amounts = st.integers(-60, 60) | st.integers(1, 400) | st.sampled_from([pure.LIMIT, -pure.LIMIT, pure.LIMIT + 1])
keys = st.none() | st.none() | st.none() | st.sampled_from([f"k{number}" for number in range(15)])
numbers = st.integers(0, 1000)


@st.composite
def lines(draw: st.DrawFn) -> pure.Lines:
    """Mostly a transfer that could be; else several lines of which the last makes the sum zero, or two assets, or anything."""
    shape = draw(st.integers(0, 9))
    if shape <= 4:
        debit, credit = draw(st.permutations(CROWNS))[:2]
        amount = draw(st.integers(1, 200))
        return ((debit, -amount), (credit, amount))
    if shape <= 6:
        many = [(draw(st.sampled_from(CROWNS)), draw(st.integers(-60, 60))) for _ in range(draw(st.integers(1, 4)))]
        return (*many, (draw(st.sampled_from(CROWNS)), -sum(amount for _, amount in many)))
    if shape == 7:
        crowns, dollars = draw(st.integers(1, 90)), draw(st.integers(1, 50))
        return (("alice", -crowns), ("fx-czk", crowns), ("fx-usd", -dollars), ("dora", dollars))
    return tuple((draw(names), draw(amounts)) for _ in range(draw(st.integers(0, 4))))


guards = st.lists(
    st.tuples(names, st.none() | st.integers(-100, 300), st.none() | st.integers(0, 12)).filter(
        lambda guard: guard[1:] != (None, None)
    ),
    max_size=2,
).map(tuple)


@st.composite
def journals(draw: st.DrawFn) -> pure.Journal:
    dated = st.none() | st.sampled_from([day - timedelta(days=1) for day in DAYS])
    return pure.Journal(draw(lines()), draw(keys), draw(dated), guards=draw(st.just(()) | guards))


@st.composite
def batches(draw: st.DrawFn, items: st.SearchStrategy[Any]) -> tuple[list[Any], bool, bool]:
    """Things, whether all or none of them, and whether only to see what would happen."""
    return draw(st.lists(items, min_size=1, max_size=5)), draw(st.booleans()), draw(st.integers(0, 5)) == 0


class Books(RuleBasedStateMachine):
    """One rule a verb. Each step's answers are compared where it is made, the books after it in `same`."""

    database: TestDatabase
    db: Database
    runner: asyncio.Runner
    steps = 0

    @initialize()
    def open(self) -> None:
        with psycopg.connect(self.database.owner_url, autocommit=True) as connection:
            # The facts cannot be removed by anyone who abides by the triggers; a test's owner steps over them between runs.
            connection.execute("set session_replication_role = replica")
            connection.execute(f"truncate db.claim, {', '.join(f'ledger.{table}' for table in TABLES)} cascade".encode())
        self.model = pure.Model({name: pure.Account(asset, floor) for name, (asset, floor) in ACCOUNTS.items()})
        self.ids = {NOBODY: 9_999_999}
        self.journal_ids: list[int] = []
        self.hold_ids: list[int] = []
        self.seen = dict.fromkeys(ACCOUNTS, 0)

        async def open_accounts(tx: Any) -> list[ledger.OpenedAccount]:
            specs = [
                ledger.AccountSpec(name, asset, "internal" if floor is None else "customer", floor)
                for name, (asset, floor) in ACCOUNTS.items()
            ]
            return await ledger.open_accounts(tx, specs)

        for name, opened in zip(ACCOUNTS, self.write(open_accounts), strict=True):
            self.ids[name] = opened.id
        opening = [pure.Journal((("bank", -500), (name, 500))) for name in ("alice", "bob", "carol")]
        self.post_all([*opening, pure.Journal((("fx-usd", -500), ("dora", 500)))], False, False)

    def write(self, work: Any) -> Any:
        async def run() -> Any:
            async with self.db.write() as tx:
                return await work(tx)

        return self.runner.run(run())

    @rule(batch=batches(journals()))
    def post(self, batch: tuple[list[pure.Journal], bool, bool]) -> None:
        self.post_all(*batch)

    @rule(hold=numbers, others=st.lists(journals(), max_size=2), share=st.integers(1, 12), final=st.booleans(), key=keys)
    def capture(self, hold: int, others: list[pure.Journal], share: int, final: bool, key: str | None) -> None:
        """Captures of one hold in parts, between other journals; twelve twelfths and more are all of it and too much."""
        if not any(known.status == "open" for known in self.model.holds):
            self.place(([pure.NewHold(name, 50) for name in ("alice", "bob", "carol", "dora")], False, False))
        account, amount = "alice", 10
        hold = self.some_hold(hold)
        if hold < len(self.model.holds):
            account, amount = self.model.holds[hold].account, self.model.holds[hold].amount
        part = max(amount * share // 10, 1)
        to = "fx-usd" if account == "dora" else "bank"
        parts = [
            pure.Journal(((account, -part), (to, part)), key, hold=hold, final=final),
            pure.Journal(((account, -1), (to, 1)), None, hold=hold),
        ]
        self.post_all([parts[0], *others, parts[1]], False, False)

    @rule(original=numbers, parts=st.lists(st.integers(1, 10), min_size=1, max_size=3), key=keys, atomic=st.booleans())
    def reverse(self, original: int, parts: list[int], key: str | None, atomic: bool) -> None:
        """Tenths of a journal taken back; in sum they may be more than there was."""
        fresh = [place for place, journal in enumerate(self.model.journals) if journal.reverses is None or original % 9 == 0]
        original = fresh[original % len(fresh)] if original % 20 else len(self.model.journals)
        if original >= len(self.model.journals):
            batch = [pure.Journal((("bank", -1), ("alice", 1)), key, reverses=original + 1000)]
            self.post_all(batch, atomic, False)
            return
        batch = []
        for tenths in parts:
            taken = tuple((name, -amount * tenths // 10) for name, amount in self.model.journals[original].lines)
            batch.append(pure.Journal(taken, key if not batch else None, reverses=original))
        self.post_all(batch, atomic, False)

    @rule(original=numbers, amount=st.none() | st.integers(1, 100))
    def reverse_by_the_verb(self, original: int, amount: int | None) -> None:
        """What `ledger.reverse` makes of a journal is what the model takes for a reversal of it."""
        fresh = [place for place, journal in enumerate(self.model.journals) if journal.reverses is None]
        original = fresh[original % len(fresh)]
        net: dict[str, int] = {}
        for name, value in self.model.journals[original].lines:
            net[name] = net.get(name, 0) + value
        moved = {name: value for name, value in net.items() if value}
        reversal = ledger.Reversal(self.journal_ids[original], "me", amount)
        if amount is not None and moved and len(moved) != 2:
            with pytest.raises(Invalid):
                self.write(lambda tx: ledger.reverse(tx, [reversal]))
            return
        taken = tuple((name, -value if amount is None else (-amount if value > 0 else amount)) for name, value in moved.items())
        (wanted,) = self.model.post([pure.Journal(taken, reverses=original)], atomic=False, dry_run=False)
        (found,) = self.write(lambda tx: ledger.reverse(tx, [reversal]))
        assert found.refusal == wanted.refusal
        if found.journal_id is not None:
            self.journal_ids.append(found.journal_id)

    @rule(batch=batches(st.builds(pure.NewHold, names, st.integers(-1, 150), st.just(False), keys)))
    def place(self, batch: tuple[list[pure.NewHold], bool, bool]) -> None:
        holds, atomic, dry_run = batch
        wanted = self.model.place(holds, atomic=atomic, dry_run=dry_run)
        new = [ledger.NewHold(self.ids[hold.account], hold.amount, "me", key=hold.key) for hold in holds]
        mode: ledger.Mode = "atomic" if atomic else "independent"
        found = self.write(lambda tx: ledger.place_holds(tx, new, mode=mode, dry_run=dry_run))
        self.compare(wanted, [(answer.hold_id, answer.refusal, answer.replayed) for answer in found], self.hold_ids)

    @rule(account=st.sampled_from(CROWNS), amount=st.integers(1, 100))
    def place_one_whose_time_is_over_soon(self, account: str, amount: int) -> None:
        async def place(tx: Any) -> ledger.Placed:
            (row,) = await self.clock(tx)
            soon = ledger.NewHold(self.ids[account], amount, "me", expires_at=row + timedelta(milliseconds=20))
            return (await ledger.place_holds(tx, [soon]))[0]

        placed = self.write(place)
        if placed.refusal == "expiry_is_over":
            # The machine was busy for those 20 ms: nothing was set aside, which the comparison after the step sees. Holds that
            # were due on the account have been resolved on the way.
            self.model._expire({account})
            return
        (wanted,) = self.model.place([pure.NewHold(account, amount, due=True)], atomic=False, dry_run=False)
        assert placed.refusal == wanted.refusal
        if placed.hold_id is not None:
            self.hold_ids.append(placed.hold_id)
            while self.now() <= placed.expires_at:
                pass

    @rule(batch=batches(st.builds(pure.Release, numbers, keys)))
    def release(self, batch: tuple[list[pure.Release], bool, bool]) -> None:
        named, atomic, dry_run = batch
        releases = [pure.Release(self.some_hold(release.hold), release.key) for release in named]
        wanted = self.model.release(releases, atomic=atomic, dry_run=dry_run)
        new = [ledger.Release(self.hold_id(release.hold), "me", release.key) for release in releases]
        mode: ledger.Mode = "atomic" if atomic else "independent"
        found = self.write(lambda tx: ledger.release_holds(tx, new, mode=mode, dry_run=dry_run))
        assert [(answer.refusal, answer.replayed) for answer in found] == [(it.refusal, it.replayed) for it in wanted]

    @rule()
    def sweep(self) -> None:
        assert self.write(ledger.expire_holds) == self.model.sweep()

    @rule(account=st.sampled_from(tuple(ACCOUNTS)), floor=st.integers(-150, 50))
    def set_floor(self, account: str, floor: int) -> None:
        self.write(lambda tx: ledger.set_floor(tx, account, floor, actor="me"))
        self.model.accounts[account].floor = floor

    @rule(
        account=st.sampled_from(("alice", "bob", "carol")), status=st.sampled_from(("open", "open", "open", "frozen", "closed"))
    )
    def set_status(self, account: str, status: Status) -> None:
        known = self.model.accounts[account]
        held = known.held - sum(hold.remaining for hold in self.model.due_on(account))
        impossible = known.status != status and (
            known.status == "closed" or (status == "closed" and (known.posted != 0 or held != 0))
        )
        if impossible:
            with pytest.raises(Conflict):
                self.write(lambda tx: ledger.set_status(tx, account, status, actor="me"))
        else:
            self.write(lambda tx: ledger.set_status(tx, account, status, actor="me"))
            # What is over on an account is resolved when it is locked.
            self.model.expire_on(account)
            known.status = status

    @rule(day=st.sampled_from(DAYS))
    def close_period(self, day: datetime) -> None:
        if self.model.closed_until is not None and day <= self.model.closed_until:
            with pytest.raises(Conflict):
                self.write(lambda tx: ledger.close_period(tx, day, actor="me"))
        else:
            self.write(lambda tx: ledger.close_period(tx, day, actor="me"))
            self.model.closed_until = day

    @invariant()
    def same(self) -> None:
        type(self).steps += 1
        self.runner.run(self._same())

    async def _same(self) -> None:
        async with self.db.read() as tx:
            found = await ledger.resolve(tx, ACCOUNTS)
            for name, wanted in self.model.accounts.items():
                account = found[name]
                assert (account.posted, account.held, account.floor, account.status, account.seq) == (
                    wanted.posted,
                    wanted.held - sum(hold.remaining for hold in self.model.due_on(name)),
                    wanted.floor,
                    wanted.status,
                    len(wanted.entries),
                ), name
                if len(wanted.entries) != self.seen[name]:
                    entries = await ledger.entries(tx, account.id, order="asc", bound=self.seen[name], limit=1000)
                    assert [(entry.amount, entry.balance_after) for entry in entries] == wanted.entries[self.seen[name] :], name
                    assert [entry.seq for entry in entries] == list(range(self.seen[name] + 1, account.seq + 1)), name
                    self.seen[name] = account.seq
            holds = {hold.id: hold for hold in await ledger.holds(tx, limit=1000)}
            shown = [(holds[id].captured, holds[id].remaining, holds[id].status) for id in self.hold_ids]
            assert shown == [hold.shown for hold in self.model.holds]
            assert len(holds) == len(self.hold_ids)
            assert [asset.difference for asset in await ledger.trial_balance(tx)] == [0, 0]

    def post_all(self, batch: list[pure.Journal], atomic: bool, dry_run: bool) -> None:
        new = [
            ledger.Journal(
                "t",
                [(self.ids[name], amount) for name, amount in journal.lines],
                "me",
                key=journal.key,
                effective_at=journal.effective_at,
                reverses=None if journal.reverses is None else self.journal_id(journal.reverses),
                hold_id=None if journal.hold is None else self.hold_id(journal.hold),
                final=journal.final,
                guards=[ledger.Guard(self.ids[name], available, seq) for name, available, seq in journal.guards],
            )
            for journal in batch
        ]
        wanted = self.model.post(batch, atomic=atomic, dry_run=dry_run)
        mode: ledger.Mode = "atomic" if atomic else "independent"
        found = self.write(lambda tx: ledger.post(tx, new, mode=mode, dry_run=dry_run))
        self.compare(wanted, [(answer.journal_id, answer.refusal, answer.replayed) for answer in found], self.journal_ids)

    def compare(self, wanted: list[pure.Answer], found: list[tuple[int | None, str | None, bool]], ids: list[int]) -> None:
        assert [(refusal, replayed) for _, refusal, replayed in found] == [(it.refusal, it.replayed) for it in wanted]
        for answer, (id, _, _) in zip(wanted, found, strict=True):
            if answer.number is None:
                assert id is None
            elif answer.number == len(ids):
                assert id is not None
                ids.append(id)
            else:
                assert id == ids[answer.number]

    def some_hold(self, number: int) -> int:
        """One of the holds, in three of four cases one that is open; now and then one that is not there."""
        choice = [place for place, hold in enumerate(self.model.holds) if number % 4 == 0 or hold.status == "open"]
        return choice[number % len(choice)] if choice and number % 20 else len(self.model.holds) + number

    def journal_id(self, number: int) -> int:
        return self.journal_ids[number] if number < len(self.journal_ids) else 8_000_000 + number

    def hold_id(self, number: int) -> int:
        return self.hold_ids[number] if number < len(self.hold_ids) else 8_000_000 + number

    def now(self) -> datetime:
        async def read() -> datetime:
            async with self.db.read() as tx:
                return (await self.clock(tx))[0]

        return self.runner.run(read())

    async def clock(self, tx: Any) -> tuple[datetime]:
        cursor = await tx._connection.execute("select clock_timestamp()")
        row: tuple[datetime] = await cursor.fetchone()
        return row


@pytest.fixture
def runner(database: TestDatabase) -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.mark.parametrize("part", range(PARTS))
def test_after_each_step_the_books_are_what_the_model_says(database: TestDatabase, runner: asyncio.Runner, part: int) -> None:
    async def opened() -> Database:
        db = PermittedDatabase(database.app_url)
        await db.open()
        return db

    machine: Any = type("Machine", (Books,), {"database": database, "db": runner.run(opened()), "runner": runner})
    runs = max(STEPS // PARTS // STEPS_A_RUN, 1)
    seed(part)(machine)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=runs,
            stateful_step_count=STEPS_A_RUN,
            deadline=None,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
        ),
    )
    runner.run(machine.db.close())
    assert machine.steps >= runs * STEPS_A_RUN * 0.5
