"""Approvals under contention, with real connections: of what comes at one moment one is first, and there is one outcome."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tallystick import approvals
from tallystick.approvals import Approval, Escalation, Question
from tallystick.db import Database, DatabaseSettings, Tx
from tallystick.identity import Principal
from tallystick.kit import TallystickError
from tests.clocks import SetClock
from tests.conftest import TestDatabase

START = datetime(2031, 5, 6, 7, tzinfo=UTC)
DIGEST, OTHER = hashlib.sha256(b"pay 5").digest(), hashlib.sha256(b"pay 6").digest()
BOT = Principal("bot", "agent", frozenset({"agent"}), owner="olga")
QUESTION = Question("transfer", None, DIGEST, {"amount": "5.00"}, "bot", (("approver", 1),), 3600)
Verb = Callable[[Tx], Awaitable[Any]]


def person(name: str, *roles: str) -> Principal:
    return Principal(name, "person", frozenset(roles or ("approver",)))


@pytest.fixture
def clock(database: TestDatabase) -> Iterator[SetClock]:
    with closing(SetClock(database.owner_url, START.isoformat())) as clock:
        yield clock


async def _ask(db: Database, **changes: Any) -> Approval:
    async with db.write() as tx:
        return await approvals.ask(tx, replace(QUESTION, **changes), BOT)


async def _at_once(db: Database, verbs: dict[str, Verb]) -> dict[str, str]:
    """What became of each verb, all of them called at once on connections of their own: `ok`, or the code of the refusal."""

    async def call(verb: Verb) -> str:
        try:
            async with db.write() as tx:
                became = await verb(tx)
        except TallystickError as refusal:
            return refusal.code
        return became.code if isinstance(became, TallystickError) else "ok"

    names = list(verbs)
    random.shuffle(names)
    return dict(zip(names, await asyncio.gather(*(call(verbs[name]) for name in names)), strict=True))


async def test_an_approval_is_used_by_one_of_sixty_four(db: Database) -> None:
    asked = await _ask(db)
    async with db.write() as tx:
        await approvals.vote(tx, asked.id, person("eva"), "approve", DIGEST)
    became = await _at_once(
        db,
        {f"gate-{n}": lambda tx, n=n: approvals.consume(tx, asked.id, DIGEST, by=f"gate-{n}") for n in range(64)},  # type: ignore[misc]
    )
    assert Counter(became.values()) == {"ok": 1, "approval_closed": 63}


async def test_one_person_votes_once_however_often_at_once(db: Database) -> None:
    asked = await _ask(db, approve=(("approver", 2),))
    became = await _at_once(
        db, {str(n): lambda tx: approvals.vote(tx, asked.id, person("eva"), "approve", DIGEST) for n in range(16)}
    )
    assert Counter(became.values()) == {"ok": 1, "voted_already": 15}
    async with db.write() as tx:
        assert (await approvals.get(tx, asked.id)).status == "open"


async def test_of_many_voters_at_once_exactly_the_quorum_is_heard(db: Database) -> None:
    asked = await _ask(db, approve=(("approver", 5),))
    became = await _at_once(
        db,
        {str(n): lambda tx, n=n: approvals.vote(tx, asked.id, person(f"p{n}"), "approve", DIGEST) for n in range(32)},  # type: ignore[misc]
    )
    assert Counter(became.values()) == {"ok": 5, "approval_closed": 27}


async def test_a_vote_a_rejection_a_withdrawal_and_an_amendment_at_once_have_one_outcome(db: Database) -> None:
    seen: Counter[str] = Counter()
    for _ in range(24):
        asked = await _ask(db)
        became = await _at_once(
            db,
            {
                "vote": lambda tx: approvals.vote(tx, asked.id, person("eva"), "approve", DIGEST),  # noqa: B023
                "reject": lambda tx: approvals.vote(tx, asked.id, person("jan"), "reject", DIGEST, reason="no"),  # noqa: B023
                "amend": lambda tx: approvals.amend(tx, asked.id, OTHER, {}, person("ota")),  # noqa: B023
                "consume": lambda tx: approvals.consume(tx, asked.id, DIGEST, by="gate"),  # noqa: B023
            },
        )
        async with db.write() as tx:
            stands = await approvals.get(tx, asked.id)
        won = [name for name in ("vote", "reject", "amend") if became[name] == "ok"]
        expected = {"vote": "approved", "reject": "rejected", "amend": "open"}[won[0]]
        seen[won[0]] += 1
        if became["consume"] == "ok":
            assert won == ["vote"]
            expected = "consumed"
        assert (len(won), stands.status) == (1, expected), became
        late = {"vote": "approval_closed", "reject": "approval_closed", "amend": "approval_changed"}[won[0]]
        assert {became[name] for name in ("vote", "reject") if name not in won} == {late}
        assert stands.digest == (OTHER if won == ["amend"] else DIGEST)
    assert sum(seen.values()) == 24


async def test_of_many_who_break_the_glass_at_once_two_are_heard_and_one_review_is_owed(db: Database) -> None:
    asked = await _ask(db, approve=(("approver", 9),))
    became = await _at_once(
        db,
        {
            str(n): lambda tx, n=n: approvals.break_glass(tx, asked.id, person(f"p{n}"), DIGEST, reason="fire")  # type: ignore[misc]
            for n in range(16)
        },
    )
    assert Counter(became.values()) == {"ok": 2, "approval_closed": 14}
    async with db.read() as tx:
        assert await approvals.open_reviews(tx) == 1


async def test_a_withdrawal_and_a_use_at_once_have_one_outcome(db: Database) -> None:
    for _ in range(24):
        asked = await _ask(db)
        async with db.write() as tx:
            await approvals.vote(tx, asked.id, person("eva"), "approve", DIGEST)
        became = await _at_once(
            db,
            {
                "consume": lambda tx: approvals.consume(tx, asked.id, DIGEST, by="gate"),  # noqa: B023
                "withdraw": lambda tx: approvals.withdraw(tx, asked.id, BOT),  # noqa: B023
            },
        )
        assert sorted(became.values()) == ["approval_closed", "ok"]
        async with db.write() as tx:
            assert (await approvals.get(tx, asked.id)).status == ("consumed" if became["consume"] == "ok" else "withdrawn")


async def test_who_waited_for_the_lock_past_the_end_finds_it_expired(db: Database, clock: SetClock) -> None:
    asked, approved = await _ask(db), await _ask(db)
    async with db.write() as tx:
        await approvals.vote(tx, approved.id, person("eva"), "approve", DIGEST)
    async with db.write() as holding:
        # In hand: a comment takes the row's lock, too.
        await approvals.comment(holding, asked.id, BOT, "wait")
        await approvals.comment(holding, approved.id, BOT, "wait")
        waiting = asyncio.create_task(
            _at_once(
                db,
                {
                    "vote": lambda tx: approvals.vote(tx, asked.id, person("jan"), "approve", DIGEST),
                    "consume": lambda tx: approvals.consume(tx, approved.id, DIGEST, by="gate"),
                    "sweep": approvals.expire_due,
                },
            )
        )
        await _locked_out(db, 2)
        clock.set(START + timedelta(hours=1))
    assert await waiting == {"vote": "approval_closed", "consume": "approval_closed", "sweep": "ok"}
    async with db.write() as tx:
        assert [(await approvals.get(tx, each.id)).status for each in (asked, approved)] == ["expired", "expired"]


async def _locked_out(db: Database, count: int) -> None:
    """Return once so many connections wait for a lock."""
    async with await psycopg.AsyncConnection.connect(db.url, autocommit=True) as connection:
        while True:
            cursor = await connection.execute(
                "select count(*) from pg_locks l join pg_database d on d.datname = current_database()"
                " where not l.granted and l.pid in (select pid from pg_stat_activity where datid = d.oid)"
            )
            if (row := await cursor.fetchone()) and row[0] >= count:
                return


PEOPLE = {
    "eva": ("approver",),
    "jan": ("approver", "admin"),
    "ota": ("admin",),
    "ida": ("auditor",),
    "olga": ("approver", "admin"),
}
ROLES = ("approver", "admin", "auditor")


@dataclass
class Model:
    """One question in plain Python, by the words of the documents."""

    approve: dict[str, int]
    expires_at: datetime
    escalate_at: datetime | None
    wider: tuple[str, ...]
    now: datetime
    digest: bytes = DIGEST
    status: str = "open"
    excluded: set[str] = field(default_factory=lambda: {"bot", "olga"})
    escalated: bool = False
    votes: dict[str, set[str]] = field(default_factory=dict)
    glass: set[str] = field(default_factory=set)
    glass_broken: bool = False

    def tick(self) -> None:
        if self.status in ("open", "approved") and self.now >= self.expires_at:
            self.status = "expired"
        elif self.status == "open" and self.escalate_at is not None and self.now >= self.escalate_at:
            self.escalated = True

    def reached(self, places: tuple[str, ...], people: frozenset[str]) -> bool:
        if not places:
            return True
        return any(places[0] in self.votes[who] and self.reached(places[1:], people - {who}) for who in people)

    def say(self, who: str, said: str, digest: bytes) -> str:
        self.tick()
        roles = set(PEOPLE[who])
        if said == "break_glass":
            stands_for = roles & {"admin", "approver"}
        else:
            stands_for = set(self.approve) if self.escalated and roles & set(self.wider) else roles & set(self.approve)
        if self.status != "open":
            return "approval_closed"
        if digest != self.digest:
            return "approval_changed"
        if who in self.excluded:
            return "maker_is_not_checker"
        if not stands_for:
            return "role_missing"
        if who in (self.glass if said == "break_glass" else self.votes):
            return "voted_already"
        if said == "reject":
            self.status = "rejected"
        elif said == "break_glass":
            self.glass.add(who)
            self.glass_broken = len(self.glass) == 2
            self.status = "approved" if self.glass_broken else "open"
        else:
            self.votes[who] = stands_for
            wanted = tuple(role for role, count in self.approve.items() for _ in range(count))
            self.status = "approved" if self.reached(wanted, frozenset(self.votes)) else "open"
        return self.status


class Machine(RuleBasedStateMachine):
    """Calls in any order, each compared with the model; the database is the test's own."""

    database: TestDatabase
    clock: SetClock
    loop: asyncio.AbstractEventLoop
    db: Database

    @initialize(
        counts=st.dictionaries(st.sampled_from(ROLES), st.integers(1, 2), min_size=1, max_size=2),
        escalate_s=st.none() | st.integers(0, 90),
        wider=st.sets(st.sampled_from(ROLES), min_size=1, max_size=2),
    )
    def ask(self, counts: dict[str, int], escalate_s: int | None, wider: set[str]) -> None:
        self.clock.set(START)
        escalation = None if escalate_s is None else Escalation(escalate_s, tuple(wider))
        asked = self.call(
            lambda tx: approvals.ask(
                tx, replace(QUESTION, approve=tuple(counts.items()), expires_s=100, escalate=escalation), BOT
            )
        )
        self.id = asked.id
        escalate_at = None if escalate_s is None else START + timedelta(seconds=escalate_s)
        self.model = Model(counts, START + timedelta(seconds=100), escalate_at, tuple(wider) if escalation else (), START)

    @rule(who=st.sampled_from(sorted(PEOPLE)), digest=st.sampled_from([DIGEST, DIGEST, OTHER]),
          said=st.sampled_from(["approve", "approve", "approve", "reject", "break_glass"]))  # fmt: skip
    def say(self, who: str, said: Any, digest: bytes) -> None:
        voter = person(who, *PEOPLE[who])
        if said == "break_glass":
            became = self.call(lambda tx: approvals.break_glass(tx, self.id, voter, digest, reason="why"))
        else:
            became = self.call(lambda tx: approvals.vote(tx, self.id, voter, said, digest, reason="why"))
        assert self.told(became) == self.model.say(who, said, digest)
        self.compare()

    @rule(who=st.sampled_from(sorted(PEOPLE)), digest=st.sampled_from([DIGEST, OTHER]))
    def amend(self, who: str, digest: bytes) -> None:
        became = self.call(lambda tx: approvals.amend(tx, self.id, digest, {}, person(who)))
        before = replace(self.model)
        self.model.tick()
        if self.model.status != "open":
            assert self.told(became) == "approval_closed"
            # The refusal is raised, so what the clock did is undone with it, and done by whoever comes next.
            self.model = before
        else:
            self.model.digest, self.model.votes, self.model.glass = digest, {}, set()
            self.model.excluded = self.model.excluded | {who}
            assert self.told(became) == "open"
        self.compare()

    @rule(digest=st.sampled_from([DIGEST, OTHER]))
    def consume(self, digest: bytes) -> None:
        became = self.call(lambda tx: approvals.consume(tx, self.id, digest, by="gate"))
        self.model.tick()
        if self.model.status == "approved" and digest == self.model.digest:
            self.model.status = "consumed"
            assert became is None
        else:
            expected = {"open": "approval_needed", "approved": "approval_changed"}.get(self.model.status, "approval_closed")
            assert self.told(became) == expected
        self.compare()

    @rule(seldom=st.integers(0, 3))
    def withdraw(self, seldom: int) -> None:
        if seldom:
            return
        became = self.call(lambda tx: approvals.withdraw(tx, self.id, BOT))
        before = replace(self.model)
        self.model.tick()
        if self.model.status in ("open", "approved"):
            self.model.status = "withdrawn"
            assert self.told(became) == "withdrawn"
        else:
            assert self.told(became) == "approval_closed"
            self.model = before
        self.compare()

    @rule(seconds=st.integers(1, 40))
    def wait(self, seconds: int) -> None:
        self.model.now += timedelta(seconds=seconds)
        self.clock.set(self.model.now)

    @rule()
    def sweep(self) -> None:
        self.call(approvals.expire_due)
        self.model.tick()
        self.compare()

    def compare(self) -> None:
        stands = self.call(lambda tx: approvals.get(tx, self.id))
        model = self.model
        assert (stands.status, stands.digest, stands.escalated_at is not None, stands.broken_at is not None) == (
            model.status, model.digest, model.escalated, model.glass_broken,
        )  # fmt: skip
        assert {stands.maker, *stands.excluded} == model.excluded
        if stands.status == "open":
            found = self.call(lambda tx: approvals.quorum(tx, stands))
            assert not found.reached

    def call(self, verb: Verb) -> Any:
        async def once() -> Any:
            try:
                async with self.db.write() as tx:
                    return await verb(tx)
            except TallystickError as refusal:
                return refusal

        return self.loop.run_until_complete(once())

    @staticmethod
    def told(became: Any) -> str:
        return became.code if isinstance(became, TallystickError) else became.status


def test_any_order_of_calls_does_what_the_words_say(database: TestDatabase) -> None:
    loop = asyncio.new_event_loop()
    db = Database(database.app_url, DatabaseSettings())
    loop.run_until_complete(db.open())
    with closing(SetClock(database.owner_url, START.isoformat())) as clock:
        Machine.db, Machine.loop, Machine.clock = db, loop, clock
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=60, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck), database=None
            ),
        )
    loop.run_until_complete(db.close())
    loop.close()
