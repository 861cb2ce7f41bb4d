"""Who has some accounts and customers in reach is asked about these alone; of other questions they learn nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tallystick import approvals, cases, customers, identity, ledger, policy
from tallystick.db import Database
from tallystick.http import HttpSettings
from tests.command_line import command
from tests.conftest import TestDatabase
from tests.serving import body_of, code_of, fund, serving

JSON = dict[str, Any]
_PEOPLE = {"op": ["operator"], "narrow": ["approver", "auditor"], "wide": ["approver"], "eve": ["approver"]}
_CLOSED = HttpSettings(key_cache_s=0)
ASKS = {"id": "asks", "hold": True, "approve": [{"role": "approver", "people": 2}], "expires": "1h"}


@dataclass
class Desk:
    """A bank at which everything asks; `op` proposes, `narrow` has ALICE and CUST-A in reach, `wide` everything."""

    client: httpx.AsyncClient
    keys: dict[str, str]
    numbers: dict[str, int]

    async def ask(self, who: str, method: str, path: str, body: JSON | None = None) -> httpx.Response:
        return await self.client.request(method, path, json=body, headers={"authorization": f"Bearer {self.keys[who]}"})

    async def propose(self, path: str, body: JSON) -> str:
        answer = await self.ask("op", "POST", path, body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["approval_id"])

    async def act(self, type: str, payload: JSON) -> str:
        return await self.propose("/v1/actions", {"type": type, "payload": payload})

    async def seen(self, who: str, query: str = "") -> list[str]:
        return [one["id"] for one in body_of(await self.ask(who, "GET", f"/v1/approvals{query}"))["items"]]

    async def vote(self, who: str, approval: str) -> httpx.Response:
        shown = body_of(await self.ask("wide", "GET", f"/v1/approvals/{approval}"))
        body = {"vote": "approve", "digest": shown["digest"]}
        return await self.ask(who, "POST", f"/v1/approvals/{approval}/votes", body)


@asynccontextmanager
async def _desk(db: Database, **reach: Any) -> AsyncIterator[Desk]:
    await fund(db, "ALICE", "BOB")
    keys, numbers = {}, {}
    async with db.write() as tx:
        for name, account in (("CUST-A", "ALICE"), ("CUST-B", "BOB")):
            (added,) = await customers.add(tx, [customers.NewCustomer(name, name)], by="t")
            numbers[name] = added.id
            owned = (await ledger.account(tx, account)).id
            await customers.add_dispositions(tx, [customers.Disposition(added.id, owned, "owner")], by="t")
        for name, roles in _PEOPLE.items():
            await identity.add_principal(tx, name, kind="person", by="t", roles=roles)
            keys[name] = (await identity.create_key(tx, name, by="t")).secret
        within: JSON = {"accounts": ["ALICE"], "customers": [numbers["CUST-A"]]} | reach
        await identity.set_reach(tx, "narrow", by="t", **within)
        await policy.apply(tx, {"name": "t", "rules": [ASKS]}, by="t")
    async with serving(db, _CLOSED, keyed=True) as client:
        yield Desk(client, keys, numbers)


def _pay(source: str, to: str = "BANK") -> JSON:
    return {"from_account": source, "to_account": to, "amount": {"amount": "1.00", "currency": "CZK"}}


def _same(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, re.sub(r'"request_id":"[^"]*"', "", answer.text)


async def test_questions_within_reach_are_seen_and_voted_on(db: Database) -> None:
    async with _desk(db) as desk:
        mine = await desk.propose("/v1/transfers", _pay("ALICE"))
        theirs = await desk.propose("/v1/transfers", _pay("BOB"))
        assert await desk.seen("wide") == [theirs, mine]
        assert await desk.seen("narrow") == [mine]
        for query in ("?status=open", "?action=transfer", "?role=approver", "?limit=1"):
            assert await desk.seen("narrow", query) == [mine], query
        for query in ("?status=rejected", "?action=payee.add", "?role=admin", "?mine=true"):
            assert await desk.seen("narrow", query) == [], query
        detail = body_of(await desk.ask("narrow", "GET", f"/v1/approvals/{mine}"))
        assert detail["shown"]["payload"]["from_account"] == "ALICE"
        assert (await desk.vote("narrow", mine)).json()["status"] == "open"
        done = await desk.vote("wide", mine)
        assert done.json()["status"] == "consumed"
        assert (await desk.ask("narrow", "POST", f"/v1/approvals/{mine}/comments", {"text": "well"})).status_code == 200


async def test_other_questions_are_answered_like_those_that_are_not_there(db: Database) -> None:
    async with _desk(db) as desk:
        theirs = await desk.propose("/v1/transfers", _pay("BOB"))
        digest = body_of(await desk.ask("wide", "GET", f"/v1/approvals/{theirs}"))["digest"]
        for method, tail, body in (
            ("GET", "", None),
            ("POST", "/votes", {"vote": "approve", "digest": digest}),
            ("POST", "/votes", {"vote": "reject", "digest": digest, "reason": "r"}),
            ("POST", "/break-glass", {"digest": digest, "reason": "r"}),
            ("POST", "/comments", {"text": "t"}),
            ("POST", "/withdraw", None),
            ("POST", "/review", {"verdict": "justified", "note": "n"}),
        ):
            hidden = await desk.ask("narrow", method, f"/v1/approvals/{theirs}{tail}", body)
            nowhere = await desk.ask("narrow", method, f"/v1/approvals/987654321{tail}", body)
            assert _same(hidden) == _same(nowhere), tail
            assert hidden.status_code == 404, tail
        votes = body_of(await desk.ask("wide", "GET", f"/v1/approvals/{theirs}"))["votes"]
        assert votes == []


async def test_a_question_that_touches_anything_else_is_out_of_reach(db: Database) -> None:
    """Whatever of it were within: all it touches has to be, and what touches nothing is about all business."""
    async with _desk(db) as desk:
        async with db.write() as tx:
            case = await cases.open_event(tx, "me", customer="NEW-1", type="call", payload_text="")
        number = desk.numbers
        both = {"mode": "atomic", "transfers": [_pay("ALICE"), _pay("BOB")]}
        entries = [{"account": "ALICE", "amount": "-1"}, {"account": "BOB", "amount": "1"}]
        within = [
            await desk.propose("/v1/transfers/batch", {"mode": "atomic", "transfers": [_pay("ALICE"), _pay("ALICE", "BOB")]}),
            await desk.act("payee.add", {"account": "ALICE", "payee": "CZ01"}),
            await desk.act("customer.change", {"customer": "CUST-A", "city": "Brno"}),
            await desk.propose("/v1/customers/CUST-A/erasure", {"reason": "r"}),
            await desk.propose("/v1/holds", {"account": "ALICE", "amount": {"amount": "1.00", "currency": "CZK"}}),
        ]
        without = [
            await desk.propose("/v1/transfers/batch", both),
            await desk.act("journal.post", {"journals": [{"kind": "k", "entries": entries}]}),
            await desk.act("payee.add", {"account": "BOB", "payee": "ALICE"}),
            await desk.act("customer.change", {"customer": "CUST-B", "city": "Brno"}),
            await desk.act("subject.erase", {"subject": str(number["CUST-B"]), "reason": "r"}),
            await desk.act("subject.erase", {"subject": f"case {case.id}", "reason": "r"}),
            await desk.act("account.open", {"account": "NEW", "currency": "CZK"}),
        ]
        assert await desk.seen("narrow") == within[::-1]
        assert await desk.seen("wide") == [*without[::-1], *within[::-1]]
        for approval in without:
            assert code_of(await desk.ask("narrow", "GET", f"/v1/approvals/{approval}")) == "unknown_approval"
            assert code_of(await desk.vote("narrow", approval)) == "unknown_approval"


@pytest.mark.parametrize(
    ("reach", "seen"),
    [
        ({"accounts": None}, ["ALICE", "BOB", "CUST-A"]),
        ({"customers": None}, ["ALICE", "CUST-A", "CUST-B"]),
        ({"accounts": []}, ["CUST-A"]),
        ({"accounts": [], "customers": []}, []),
        ({"accounts": ["BOB"], "customers": None}, ["BOB", "CUST-A", "CUST-B"]),
    ],
)
async def test_either_of_both_may_be_unlimited_or_empty(db: Database, reach: JSON, seen: list[str]) -> None:
    async with _desk(db, **reach) as desk:
        asked = {}
        for account in ("ALICE", "BOB"):
            asked[await desk.propose("/v1/transfers", _pay(account))] = account
        for customer in ("CUST-A", "CUST-B"):
            asked[await desk.act("customer.change", {"customer": customer, "city": "Brno"})] = customer
        await desk.act("account.open", {"account": "NEW", "currency": "CZK"})
        assert sorted(asked[one] for one in await desk.seen("narrow")) == seen
        for approval, what in asked.items():
            status = (await desk.ask("narrow", "GET", f"/v1/approvals/{approval}")).status_code
            assert status == (200 if what in seen else 404), what


async def test_pages_are_whole_whatever_lies_between(db: Database) -> None:
    async with _desk(db) as desk:
        mine = []
        for number in range(9):
            if number % 3 == 0:
                mine.append(await desk.propose("/v1/transfers", _pay("ALICE")))
            else:
                await desk.propose("/v1/transfers", _pay("BOB"))
        found, cursor = [], ""
        while True:
            page = body_of(await desk.ask("narrow", "GET", f"/v1/approvals?limit=1{cursor}"))
            found += [one["id"] for one in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert found == mine[::-1]


async def test_an_amendment_takes_a_question_out_of_reach_and_into_it(db: Database) -> None:
    async with _desk(db) as desk:
        approval = await desk.act("payee.add", {"account": "ALICE", "payee": "CZ01"})
        action = body_of(await desk.ask("wide", "GET", f"/v1/approvals/{approval}"))["action_id"]
        assert await desk.seen("narrow") == [approval]
        for account, seen in (("BOB", []), ("ALICE", [approval])):
            payload = {"payload": {"account": account, "payee": "CZ02"}}
            assert (await desk.ask("op", "PATCH", f"/v1/actions/{action}", payload)).status_code == 200
            assert await desk.seen("narrow") == seen


async def test_broken_glasses_are_reviewed_by_those_in_whose_reach_they_are(db: Database) -> None:
    async with _desk(db) as desk:
        both = [await desk.propose("/v1/transfers", _pay(account)) for account in ("ALICE", "BOB")]
        for approval in both:
            digest = body_of(await desk.ask("wide", "GET", f"/v1/approvals/{approval}"))["digest"]
            for who in ("wide", "eve"):
                body = {"digest": digest, "reason": "it burns"}
                assert (await desk.ask(who, "POST", f"/v1/approvals/{approval}/break-glass", body)).status_code == 200
        every = body_of(await desk.ask("wide", "GET", "/v1/approvals/reviews"))
        some = body_of(await desk.ask("narrow", "GET", "/v1/approvals/reviews"))
        assert ([one["approval_id"] for one in every["items"]], every["open"]) == (both[::-1], 2)
        assert ([one["approval_id"] for one in some["items"]], some["open"]) == (both[:1], 1)
        body = {"verdict": "justified", "note": "it did"}
        assert code_of(await desk.ask("narrow", "POST", f"/v1/approvals/{both[1]}/review", body)) == "unknown_approval"
        assert (await desk.ask("narrow", "POST", f"/v1/approvals/{both[0]}/review", body)).status_code == 200


async def test_who_made_a_question_or_stands_behind_it_sees_it_wherever_it_is(db: Database) -> None:
    async with _desk(db) as desk:
        async with db.write() as tx:
            await identity.set_reach(tx, "op", accounts=["BOB"], customers=[], by="t")
        approval = await desk.propose("/v1/transfers", _pay("BOB"))
        async with db.write() as tx:
            await identity.set_reach(tx, "op", accounts=[], customers=[], by="t")
        assert await desk.seen("op") == [approval]
        assert (await desk.ask("op", "GET", f"/v1/approvals/{approval}")).status_code == 200
        assert (await desk.ask("op", "POST", f"/v1/approvals/{approval}/withdraw")).status_code == 200


async def test_the_command_heeds_the_reach_of_the_key(db: Database, database: TestDatabase) -> None:
    async with _desk(db) as desk:
        theirs = await desk.propose("/v1/transfers", _pay("BOB"))
        digest = body_of(await desk.ask("wide", "GET", f"/v1/approvals/{theirs}"))["digest"]
        asked = ("approvals", "approve", theirs, "--digest", digest, "--key-file", "-")
        for who, said in (("narrow", "[unknown_approval]"), ("wide", "is open")):
            told = await asyncio.to_thread(command, database, *asked, stdin=desk.keys[who])
            assert said in told.stderr + told.stdout, who


def test_a_reach_holds_what_touches_nothing_else() -> None:
    def question(accounts: list[int], customers: list[int]) -> approvals.Approval:
        about: JSON = dict.fromkeys(approvals.Approval.__dataclass_fields__)
        about |= {"accounts": accounts, "customers": customers}
        return approvals.Approval(**about)

    every, some = approvals.Reach(), approvals.Reach(frozenset({1, 2}), frozenset({7}))
    for accounts, of, held in (
        ([1], [], True), ([1, 2], [7], True), ([], [7], True), ([], [], False), ([1, 3], [], False), ([1], [8], False),
        ([], [0], False), ([], [7, 8], False),
    ):  # fmt: skip
        assert some.holds(question(accounts, of)) is held, (accounts, of)
        assert every.holds(question(accounts, of))
