"""Each effect has a decision that allows it, used once, or the agreement of people to it: what was changed so that it no longer
has is named, in the database and in an export."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tallystick import actions, approvals, audit, ledger, policy, tlog
from tallystick.actions import NewTransfer
from tallystick.cli.demo_bank import load
from tallystick.cli.record import SOURCES
from tallystick.cli.verify_record import verify_record
from tallystick.db import SEALER, Database, ReadTx, Tx
from tallystick.identity import Principal, house
from tests import bank_days
from tests.conftest import TestDatabase
from tests.permitted import strict
from tests.recorded import seal
from tests.serving import OPEN, serving

DESK = house("desk")
ANNA, EVA, JAN = (Principal(name, "person", frozenset({"approver", "admin"})) for name in ("anna", "eva", "jan"))
RULES = [
    {"id": "never", "when": {"action": "transfer"}, "amount": {"at_most": {"CZK": "500.00"}}, "otherwise": "deny"},
    {
        "id": "ask",
        "when": {"action": ["transfer", "journal.post"]},
        "amount": {"at_most": {"CZK": "100.00"}},
        "otherwise": "hold",
        "approve": [{"role": "approver", "people": 2}],
        "expires": "1h",
    },
    {"id": "else", "allow": True},
]
Connection = psycopg.AsyncConnection[Any]


@dataclass
class Bank:
    """A bank that has done something in every way that the gate knows, its record sealed."""

    db: Database
    sealing: Database
    connection: Connection
    keys: tlog.KeyFolder
    folder: Path

    @asynccontextmanager
    async def changed(self) -> AsyncIterator[Connection]:
        """What is done within happens behind the back of everybody, and is undone."""
        async with self.connection.transaction(force_rollback=True):
            await self.connection.execute("set local session_replication_role = replica")
            yield self.connection

    async def seal(self) -> None:
        await seal(self.sealing, self.keys)

    async def online(self) -> dict[tuple[str, str], str]:
        found = await verify_record(ReadTx(self.connection), self.keys.public(), [])
        return {(one.code, one.place): one.detail for one in found.findings}

    async def exported(self) -> dict[tuple[str, str], str]:
        path = self.folder / "export.zip"
        await audit.export(ReadTx(self.connection), path, self.keys.public(), SOURCES)
        return verified(path, self.keys)

    async def only(self, query: str) -> int:
        row = await (await self.connection.execute(query.encode())).fetchone()
        assert row is not None
        return int(row[0])


def verified(path: Path, keys: tlog.KeyFolder) -> dict[tuple[str, str], str]:
    meaning = tlog.Meaning()
    found = tlog.verify_export(path, keys=keys.public(), visit=meaning, finish=meaning.end)
    return {(one.code, one.place): one.detail for one in found.findings}


@pytest.fixture
async def bank(db: Database, database: TestDatabase, tmp_path: Path) -> AsyncIterator[Bank]:
    sealing = Database(database.owner_url, role=SEALER)
    await sealing.open()
    plain = strict(db)
    await live(plain)
    async with await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as connection:
        found = Bank(plain, sealing, connection, tlog.KeyFolder(tmp_path / "keys"), tmp_path)
        await found.seal()
        yield found
    await sealing.close()


async def live(db: Database) -> None:
    """Post, pay, be refused and denied; ask people, who agree, reject, break the glass, or have not answered yet."""
    async with db.write() as tx:
        names = ("BANK", "ALICE", "BOB", "EMPTY")
        await ledger.open_accounts(
            tx, [ledger.AccountSpec(name, "CZK", "internal" if name == "BANK" else "customer", None if name == "BANK" else 0)
                 for name in names],
        )  # fmt: skip
        opening = [
            ledger.NamedJournal("opening", [("BANK", "-1000.00"), (name, "1000.00")], meta={"n": n})
            for n, name in enumerate(("ALICE", "BOB", "ALICE"))
        ]
        assert all(isinstance(one, ledger.Posted) for one in await actions.post_journals(tx, DESK, opening))
        await policy.apply(tx, {"name": "test", "rules": RULES}, by="test")
    proposed = [
        NewTransfer("ALICE", "BOB", "10.00", "CZK"),
        NewTransfer("BOB", "ALICE", "20.00", "CZK"),
        NewTransfer("ALICE", "BOB", "501.00", "CZK"),
        NewTransfer("ALICE", "BOB", "5.00", "CZK", settle="queued"),
        NewTransfer("ALICE", "BOB", "502.00", "CZK", settle="queued"),
    ]
    queued = [one for one in await propose(db, *proposed) if one.status == "queued"]
    assert [one.status for one in await propose(db, NewTransfer("ALICE", "BOB", "7.00", "CZK"))] == ["posted"]
    await agreed(db, *(await propose(db, NewTransfer("ALICE", "BOB", "200.00", "CZK"))))
    await propose(db, NewTransfer("ALICE", "BOB", "201.00", "CZK"))
    (rejected,) = await propose(db, NewTransfer("ALICE", "BOB", "202.00", "CZK"))
    await vote(db, rejected.approval_id, ANNA, "reject")
    (broken,) = await propose(db, NewTransfer("ALICE", "BOB", "203.00", "CZK"))
    for person in (ANNA, JAN):
        await break_glass(db, broken.approval_id, person)
    async with db.write() as tx:
        await actions.settle(tx, [one.id for one in queued])
    # What the books refuse was allowed, and uses nothing.
    (refused,) = await propose(db, NewTransfer("EMPTY", "BOB", "1.00", "CZK"))
    assert (refused.status, refused.reason) == ("failed", "insufficient_funds")


async def propose(db: Database, *transfers: NewTransfer) -> list[actions.Transfer]:
    async with db.write() as tx:
        made = await actions.propose(tx, DESK, transfers)
    assert all(isinstance(one, actions.Transfer) for one in made), made
    return [one for one in made if isinstance(one, actions.Transfer)]


async def agreed(db: Database, held: actions.Transfer) -> None:
    for person in (ANNA, EVA):
        await vote(db, held.approval_id, person)
    async with db.read() as tx:
        assert (await actions.get(tx, held.id)).status == "posted"


async def vote(db: Database, approval_id: int | None, person: Principal, said: Any = "approve") -> None:
    assert approval_id is not None
    async with db.write() as tx:
        asked = await approvals.get(tx, approval_id)
        answer = await actions.vote(tx, approval_id, person, said, seen=asked.digest, reason="because")
    assert isinstance(answer, approvals.Approval), answer


async def break_glass(db: Database, approval_id: int | None, person: Principal) -> None:
    assert approval_id is not None
    async with db.write() as tx:
        asked = await approvals.get(tx, approval_id)
        answer = await actions.break_glass(tx, approval_id, person, seen=asked.digest, reason="it burns")
    assert isinstance(answer, approvals.Approval), answer


async def test_a_bank_that_nobody_changed_is_clean(bank: Bank) -> None:
    assert await bank.online() == {}
    assert await bank.exported() == {}
    # Questions on which people vote after the last checkpoint do not yet stand as the record says.
    open_one = await bank.only("select id from approvals.approval where status = 'open'")
    await vote(bank.db, open_one, EVA)
    assert await bank.online() == {}


async def test_a_batch_of_more_decisions_than_an_event_lists_is_looked_at_whole(bank: Bank) -> None:
    await propose(bank.db, *(NewTransfer("ALICE", "BOB", "0.01", "CZK") for _ in range(250)))
    last = await bank.only("select max(decision_id) from policy.consumption")
    queued = await propose(bank.db, *(NewTransfer("ALICE", "BOB", "0.01", "CZK", settle="queued") for _ in range(250)))
    async with bank.db.write() as tx:
        await actions.settle(tx, [one.id for one in queued])
        many = [ledger.NamedJournal("fee", [("BANK", "-0.01"), ("BOB", "0.01")], meta={"n": n}) for n in range(250)]
        await actions.post_journals(tx, DESK, many)
    await bank.seal()
    assert await bank.online() == {}
    for decision in (last, await bank.only("select max(decision_id) from policy.consumption")):
        async with bank.changed() as connection:
            await connection.execute("delete from policy.consumption where decision_id = %s", [decision])
            codes = {code for code, _ in await bank.online()}
        assert codes == {"decision_unused"}


_POSTED = "(select min(decision_id) from actions.transfer where status = 'posted')"
_USED = "(select min(d.id) from policy.decision d where d.used_by is not null)"
_REFUSED = "(select max(decision_id) from actions.transfer where reason = 'insufficient_funds')"
_DENIED = "(select min(decision_id) from actions.transfer where reason = 'denied')"
_AGREED = "(select min(id) from policy.decision where approval_id is not null and outcome = 'allow')"
_APPROVED = f"(select approval_id from policy.decision where id = {_AGREED})"
_CHECK = "alter table policy.decision drop constraint only_what_the_verdict_or_people_allow_is_allowed; "
_PLACES = {"posted": _POSTED, "denied": _DENIED, "agreed": _AGREED, "approval": _APPROVED, "refused": _REFUSED}

CHANGES: dict[str, tuple[str, set[tuple[str, str]]]] = {
    "outcome": (
        f"{_CHECK}update policy.decision set outcome = 'allow' where id = {_DENIED}",
        {("decision_differs", "decision {denied}")},
    ),
    "outcome and verdict": (
        'update policy.decision set outcome = \'allow\', verdict = \'{"outcome":"allow","reasons":[]}\''
        f" where id = {_DENIED}",
        {("decision_differs", "decision {denied}")},
    ),
    "verdict of one alone": (
        f"update policy.decision set verdict = replace(verdict, 'ask', 'axe') where id = {_AGREED}",
        {("decision_altered", "decision {agreed}")},
    ),
    "facts": (
        f"update policy.decision set facts = replace(facts, 'ALICE', 'ALINA') where id = {_AGREED}",
        {("decision_altered", "decision {agreed}")},
    ),
    "payload of the decision": (
        f"update policy.decision set digest = sha256('x') where id = {_AGREED}",
        {("decision_altered", "decision {agreed}"), ("approval_differs", "decision {agreed}")},
    ),
    "principal of the decision": (
        f"update policy.decision set principal = 'mallory' where id = {_AGREED}",
        {("decision_altered", "decision {agreed}"), ("decision_differs", "decision {agreed}")},
    ),
    "policy of the decision": (
        f"update policy.decision set policy = repeat('0', 64) where id = {_AGREED}",
        {("decision_altered", "decision {agreed}")},
    ),
    "approval of the decision": (
        f"update policy.decision set approval_id = {_APPROVED} + 1 where id = {_AGREED}",
        {("decision_altered", "decision {agreed}"), ("approval_unknown", "decision {agreed}")},
    ),
    "decision deleted": (f"delete from policy.decision where id = {_POSTED}", {("row_missing", "decision {posted}")}),
    "use deleted": (f"delete from policy.consumption where decision_id = {_POSTED}", {("decision_unused", "")}),
    "use moved": (
        f"update policy.consumption set decision_id = {_DENIED} where decision_id = {_POSTED}",
        {("decision_unused", ""), ("decision_misused", "decision {denied}")},
    ),
    "use made up": (
        "insert into policy.consumption select max(decision_id) from actions.transfer where reason = 'insufficient_funds'",
        {("decision_misused", "decision {refused}")},
    ),
    "use by another": (
        f"update policy.consumption set xid = (xid::text::bigint + 1)::text::xid8 where decision_id = {_POSTED}",
        {("decision_used_twice", "")},
    ),
    "own use deleted": (f"update policy.decision set used_by = null where id = {_USED}", {("decision_unused", "")}),
    "own use made up": (
        f"update policy.decision set used_by = '5' where id = {_REFUSED}",
        {("decision_misused", "decision {refused}")},
    ),
    "own use by another": (
        f"update policy.decision set used_by = (used_by::text::bigint + 1)::text::xid8 where id = {_USED}",
        {("decision_used_twice", "")},
    ),
    "vote deleted": (
        f"delete from approvals.vote where id = (select max(id) from approvals.vote where approval_id = {_APPROVED})",
        {("row_missing", "approval_vote ")},
    ),
    "voter renamed": (
        f"update approvals.vote set person = 'desk' where approval_id = {_APPROVED} and person = 'eva'",
        {("row_altered", "approval_vote ")},
    ),
    "quorum": (
        f"update approvals.approval set counts = '{{1}}' where id = {_APPROVED}",
        {("approval_altered", "approval {approval}")},
    ),
    "maker": (
        f"update approvals.approval set maker = 'anna' where id = {_APPROVED}",
        {("approval_altered", "approval {approval}")},
    ),
    "excluded": (
        f"update approvals.approval set excluded = '{{x}}' where id = {_APPROVED}",
        {("approval_altered", "approval {approval}")},
    ),
    "status": (
        f"update approvals.approval set status = 'approved' where id = {_APPROVED}",
        {("approval_altered", "approval {approval}")},
    ),
    "digest of the approval": (
        f"update approvals.approval set digest = sha256('x') where id = {_APPROVED}",
        {("approval_altered", "approval {approval}")},
    ),
    "digest of what was shown": (
        f"update approvals.shown set digest = sha256('x') where approval_id = {_APPROVED}",
        {("row_altered", "approval_shown "), ("approval_differs", "decision {agreed}")},
    ),
    "approval deleted": (
        f"delete from approvals.approval where id = {_APPROVED}",
        {("approval_missing", "approval {approval}")},
    ),
    "approval made up": (
        "insert into approvals.approval overriding system value"
        " select (jsonb_populate_record(a, '{\"id\": 900}')).* from approvals.approval a"
        " where id = 1",
        {("approval_unknown", "approval 900")},
    ),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_was_changed_of_decisions_and_agreements_is_named(bank: Bank, change: str) -> None:
    statement, places = CHANGES[change]
    ids = {name: await bank.only(f"select {query}") for name, query in _PLACES.items()}
    wanted = {(code, place.format(**ids)) for code, place in places}
    async with bank.changed() as connection:
        await connection.execute(statement.encode())
        online = await bank.online()
        exported = await bank.exported()
    for found in (online, exported):
        for code, place in wanted:
            assert any(had == code and at.startswith(place or "event at index ") for had, at in found), found
    assert await bank.online() == {}


async def _tell(tx: Tx, verb: str = "things.change", **about: Any) -> None:
    await audit.append(tx, principal="mallory", verb=verb, subject_kind="thing", **about)


async def test_what_was_done_under_a_decision_that_is_anothers_or_denies_is_named(bank: Bank) -> None:
    before = await bank.only("select count(*) from audit.leaf")
    posted, denied = await bank.only(f"select {_POSTED}"), await bank.only(f"select {_DENIED}")
    for decision in (posted, denied, 999_999):
        async with bank.db.write() as tx:
            await _tell(tx, decision_id=decision)
    await bank.seal()
    wanted = ["decision_used_twice", "decision_not_allowing", "decision_unknown"]
    assert list(await bank.exported()) == [(code, f"event at index {before + n}") for n, code in enumerate(wanted)]


async def test_journals_under_no_decision_are_named(bank: Bank) -> None:
    row = await (
        await bank.connection.execute("select refs, items from audit.event where verb = 'ledger.post' order by id limit 1")
    ).fetchone()
    assert row is not None
    async with bank.db.write() as tx:
        await _tell(tx, "ledger.post", items=audit.Items("journal", row[0], row[1]))
    await bank.seal()
    assert {code for code, _ in await bank.exported()} == {"posting_undecided"}


def test_an_event_without_its_transaction_comes_after_none_that_has_it() -> None:
    meaning = tlog.Meaning()
    assert list(meaning(_event("things.change", 4, tx=None))) == list(meaning(_event("things.change", 5))) == []
    assert [one.code for one in meaning(_event("things.change", 6, tx=None))] == ["transaction_missing"]


@pytest.mark.parametrize("verb", ["transfers.settle", "approvals.consume"])
async def test_a_range_of_the_record_is_not_blamed_for_what_was_decided_before_it(bank: Bank, verb: str) -> None:
    settled = await bank.only(
        f"select min(l.idx) from audit.leaf l join audit.event e on e.id = l.event_id where e.verb = '{verb}'"
    )
    row = await (
        await bank.connection.execute(
            "select e.at from audit.event e join audit.leaf l on l.event_id = e.id where l.idx = %s", [settled - 1]
        )
    ).fetchone()
    assert row is not None
    path = bank.folder / "part.zip"
    done = await audit.export(ReadTx(bank.connection), path, bank.keys.public(), SOURCES, since=row[0])
    assert done.first > 0
    assert verified(path, bank.keys) == {}


# What people agreed to, event by event.


def _event(verb: str, index: int = 0, *, tx: str | None = "700", kind: str = "thing", told: tuple[tlog.Row, ...] = (),
           row: str | None = None, **about: Any) -> tlog.Sealed:  # fmt: skip
    event: dict[str, Any] = {
        "event": str(index),
        "principal": "desk",
        "verb": verb,
        "subject": {"kind": kind},
        "at": "",
        **about,
    }
    if tx is not None:
        event["tx"] = tx
    rows = () if row is None else (tlog.Row("1", text=row),)
    return tlog.Sealed(index, event, rows, None, about.get("detail", {}), told)


def _ask(**more: Any) -> tlog.Sealed:
    detail = {"action": "t", "approve": [["approver", 2]], "maker": "desk", "excluded": ["owner"], "version": 1, **more}
    return _event("approvals.ask", 0, approval="7", detail=detail, row='{"digest":"aa"}')


def _vote(person: str, said: str = "approve", **more: Any) -> tlog.Sealed:
    detail = {"status": "open", "version": 1, "vote": said, "kind": "person", "places": ["approver"], **more}
    return _event("approvals.vote", 1, approval="7", detail=detail, principal=person)


def _use(tx: str = "700") -> tlog.Sealed:
    return _event("approvals.consume", 2, approval="7", tx=tx)


def _decide(*, digest: str = "aa", people: int = 2) -> tlog.Sealed:
    head = f'{{"action":"t","approval":"7","digest":"{digest}","outcome":"allow","principal":"desk"}}'
    verdict = f'{{"approve":[{{"people":{people},"role":"approver"}}],"outcome":"hold"}}'
    text = f'{head}\n{{"action":"t","principal":"desk"}}\n{verdict}'
    return _event("actions.decide", 3, decision="9", told=(tlog.Row("9", text=text, used="700"),))


GOOD = [_ask(), _vote("anna"), _vote("eva"), _use(), _decide()]
AGREEMENTS: dict[str, tuple[list[tlog.Sealed], set[str]]] = {
    "as it should be": (GOOD, set()),
    "one is not enough": ([_ask(), _vote("anna"), _use(), _decide()], {"quorum_missing"}),
    "one who votes twice": ([_ask(), _vote("anna"), _vote("anna"), _use(), _decide()], {"voted_twice", "quorum_missing"}),
    "the maker": ([_ask(), _vote("anna"), _vote("desk"), _use(), _decide()], {"vote_by_the_maker"}),
    "who stands behind the maker": ([_ask(), _vote("anna"), _vote("owner"), _use(), _decide()], {"vote_by_the_maker"}),
    "an agent": ([_ask(), _vote("anna"), _vote("bot", kind="agent"), _use(), _decide()], {"vote_by_no_person"}),
    "who could fill no place": (
        [_ask(), _vote("anna"), _vote("eva", places=["auditor"]), _use(), _decide()],
        {"quorum_missing"},
    ),
    "one who fills two places": (
        [_ask(approve=[["admin", 1], ["approver", 1]]), _vote("anna", places=["admin", "approver"]), _use(), _decide(people=1)],
        {"quorum_missing"},
    ),
    "a rejection": ([_ask(), _vote("anna"), _vote("eva"), _vote("jan", "reject"), _use(), _decide()], {"quorum_missing"}),
    "something else": ([*GOOD[:-1], _decide(digest="bb")], {"approval_differs"}),
    "more people are asked now": ([*GOOD[:-1], _decide(people=3)], {"quorum_missing"}),
    "used twice": ([*GOOD[:-1], _use(), _decide()], {"approval_used_twice"}),
    "used elsewhere": ([*GOOD[:-2], _use("701"), _decide()], {"approval_unused"}),
    "never used": ([*GOOD[:-2], _decide()], {"approval_unused"}),
    "never asked": ([_decide()], {"approval_unknown"}),
    "amended after they voted": (
        [*GOOD[:3], _event("approvals.amend", 2, approval="7", detail={"version": 2, "editors": ["ed"]}, row='{"digest":"aa"}'),
         _use(), _decide()],
        {"quorum_missing"},
    ),
    "the editor votes": (
        [_ask(), _event("approvals.amend", 1, approval="7", detail={"version": 2, "editors": ["ed"]}, row='{"digest":"aa"}'),
         _vote("anna", version=2), _vote("ed", version=2), _use(), _decide()],
        {"vote_by_the_maker"},
    ),
    "broken glass": ([_ask(), _vote("anna", "break_glass"), _vote("eva", "break_glass"), _use(), _decide(people=3)], set()),
    "glass broken by one": (
        [_ask(), _vote("anna", "break_glass"), _vote("anna"), _use(), _decide()],
        {"quorum_missing"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", AGREEMENTS)
def test_an_agreement_is_by_people_enough_and_for_what_is_done(name: str) -> None:
    events, codes = AGREEMENTS[name]
    meaning = tlog.Meaning()
    found = [finding.code for event in events for finding in meaning(event)]
    assert list(meaning.end(None, from_start=False)) == []
    found += [finding.code for finding in meaning.end(None, from_start=True)]
    assert set(found) == codes, found


async def test_the_demo_with_a_day_of_business_is_clean(db: Database, database: TestDatabase, tmp_path: Path) -> None:
    """What the house does by itself has its decisions, too: books taken in, customers opened, a day closed."""
    plain = strict(db)
    await load(plain)
    await bank_days.set_up(plain)
    async with serving(db, OPEN, keyed=True) as client:
        money = {"amount": "12.50", "currency": "USD"}
        for settle in ("now", "queued"):
            body = {"from_account": "ACC123", "to_account": "ACC999", "amount": money, "settle": settle}
            assert (await client.post("/v1/transfers", json=body)).status_code in (201, 202)
        body = {"account": "ACC123", "amount": money, "kind": "card"}
        hold = (await client.post("/v1/holds", json=body)).json()
        captured = await client.post(f"/v1/holds/{hold['id']}/captures", json={"to_account": "ACC999", "amount": money})
        assert captured.status_code == 201, captured.text
        taken = await client.post(f"/v1/journals/{captured.json()['id']}/reversals", json={})
        assert taken.status_code == 201, taken.text
        rate = {"rate": "0.05", "day_count": "ACT/365", "paid_from": "COST", "from_date": "2024-02-01"}
        assert (await client.post("/v1/accounts/ALICE/interest-rates", json=rate)).status_code == 201
        closed = await client.post(f"/v1/business-days/{bank_days.FRIDAY}/close", json={"calendar": "CZ"})
        assert closed.status_code in (200, 201), closed.text
    sealing = Database(database.owner_url, role=SEALER)
    await sealing.open()
    keys = tlog.KeyFolder(tmp_path / "keys")
    await seal(sealing, keys)
    await sealing.close()
    async with plain.snapshot() as tx:
        found = await verify_record(tx, keys.public(), [])
    assert found.findings == []
