"""What policy is told of an amount is what moves, however the number was written."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tallystick import actions, policy
from tallystick.db import Database
from tallystick.identity import house
from tallystick.kit import NotFound, plain
from tests.permitted import strict
from tests.serving import body_of, code_of
from tests.test_gate import _bank, _posted

SMALL = {"id": "small", "amount": {"at_most": {"CZK": "100.00"}}}
FORMS = ["500", "5e2", "5E+2", "0.5e3", "500000e-3", '"500.00"']


async def _raw(client: httpx.AsyncClient, path: str, body: str) -> httpx.Response:
    """Send JSON as it stands, as no writer of it would keep the form of a number."""
    headers = {"idempotency-key": str(uuid.uuid4()), "content-type": "application/json"}
    return await client.post(path, content=body, headers=headers)


async def _proposed(client: httpx.AsyncClient, type: str, payload: Any) -> httpx.Response:
    headers = {"idempotency-key": str(uuid.uuid4())}
    return await client.post("/v1/actions", json={"type": type, "payload": payload}, headers=headers)


async def _told(db: Database) -> list[Any]:
    """The amounts that policy was told of, newest first."""
    async with db.read() as tx:
        return [policy.facts_of(one).get("amount") for one in await policy.decisions(tx)]


async def _hold(client: httpx.AsyncClient, amount: str) -> str:
    made = await _raw(client, "/v1/holds", f'{{"account": "ALICE", "amount": {{"amount": {amount}, "currency": "CZK"}}}}')
    assert made.status_code == 201, made.text
    return str(body_of(made)["id"])


async def _placed(client: httpx.AsyncClient, amount: str) -> httpx.Response:
    return await _raw(client, "/v1/holds", f'{{"account": "ALICE", "amount": {{"amount": {amount}, "currency": "CZK"}}}}')


async def _journal(client: httpx.AsyncClient, amount: str) -> httpx.Response:
    minus = f'"-{amount[1:]}' if amount.startswith('"') else f"-{amount}"
    entries = f'[{{"account": "ALICE", "amount": {minus}}}, {{"account": "BOB", "amount": {amount}}}]'
    return await _raw(client, "/v1/journals", f'{{"kind": "fee", "entries": {entries}}}')


async def _sent(client: httpx.AsyncClient, amount: str) -> httpx.Response:
    nostro = {"id": "NOSTRO", "bank": "B", "their_account": "1", "currency": "CZK"}
    await client.post("/v1/nostros", json=nostro, headers={"idempotency-key": str(uuid.uuid4())})
    money = f'{{"amount": {amount}, "currency": "CZK"}}'
    other = '{"name": "Eva Nova", "account": "CZ001"}'
    body = f'{{"nostro": "NOSTRO", "from_account": "ALICE", "amount": {money}, "counterparty": {other}}}'
    return await _raw(client, "/v1/external-payments", body)


async def _transferred(client: httpx.AsyncClient, amount: str) -> httpx.Response:
    money = f'{{"amount": {amount}, "currency": "CZK"}}'
    return await _raw(client, "/v1/transfers", f'{{"from_account": "ALICE", "to_account": "BOB", "amount": {money}}}')


async def _together(client: httpx.AsyncClient, amount: str) -> httpx.Response:
    money = f'{{"amount": {amount}, "currency": "CZK"}}'
    item = f'{{"from_account": "ALICE", "to_account": "BOB", "amount": {money}}}'
    return await _raw(client, "/v1/transfers/batch", f'{{"mode": "atomic", "transfers": [{item}]}}')


WAYS = [_placed, _journal, _sent, _transferred, _together]


@pytest.mark.parametrize("amount", FORMS)
@pytest.mark.parametrize("way", WAYS, ids=[way.__name__.strip("_") for way in WAYS])
async def test_a_limit_is_not_slipped_by_the_way_in_which_a_number_is_written(db: Database, way: Any, amount: str) -> None:
    held = {**SMALL, "when": {"action": ["hold.place", "journal.post", "payment.send", "transfer", "transfer.batch"]}}
    async with _bank(db, held) as client:
        before = await _posted(db, "ALICE")
        answer = await way(client, amount)
        assert (answer.status_code, body_of(answer)["status"]) == (202, "held"), answer.text
        assert (await _told(db))[0] == 50_000
        assert await _posted(db, "ALICE") == before


@pytest.mark.parametrize("amount", FORMS)
async def test_nor_is_one_of_captures_and_reversals(db: Database, amount: str) -> None:
    async with _bank(db, {**SMALL, "when": {"action": ["hold.capture", "journal.reverse"]}}) as client:
        hold = await _hold(client, amount)
        money = f'{{"amount": {amount}, "currency": "CZK"}}'
        captured = await _raw(client, f"/v1/holds/{hold}/captures", f'{{"to_account": "BOB", "amount": {money}}}')
        assert (captured.status_code, (await _told(db))[0]) == (202, 50_000), captured.text
        journal = body_of(await _journal(client, amount))["id"]
        taken_back = await _raw(client, f"/v1/journals/{journal}/reversals", f'{{"amount": {money}}}')
        assert (taken_back.status_code, (await _told(db))[0]) == (202, 50_000), taken_back.text


async def test_an_amount_that_cannot_be_read_is_refused_and_never_taken_for_none(db: Database) -> None:
    async with _bank(db) as client:
        before = await _told(db)
        for type, payload in (
            ("hold.place", {"holds": [{"account": "ALICE", "amount": "5E+4"}]}),
            ("hold.place", {"holds": [{"account": "ALICE", "amount": "0.001"}]}),
            ("journal.post", {"journals": [{"kind": "fee", "entries": [
                {"account": "ALICE", "amount": "-1e1"}, {"account": "BOB", "amount": "1e1"}]}]}),
        ):  # fmt: skip
            answer = await _proposed(client, type, payload)
            assert answer.status_code == 422, answer.text
            assert code_of(answer).startswith("amount_")
        assert await _told(db) == before


async def test_whoever_proposes_in_the_process_writes_the_number_as_it_is(db: Database) -> None:
    async with _bank(db, SMALL), strict(db).write() as tx:
        new = [actions.NewTransfer("ALICE", "BOB", Decimal("5E+2"))]
        (made,) = await actions.propose(tx, house("me"), new)
        assert isinstance(made, actions.Transfer)
        assert (made.status, made.amount) == ("held", 50_000)


@pytest.mark.parametrize(
    ("amount", "written"),
    [(Decimal("5E+4"), "50000"), (Decimal("1E-7"), "0.0000001"), (Decimal("-5.10"), "-5.10"), (7, "7"), ("5e4", "5e4")],
)
def test_numbers_are_written_as_they_are_read(amount: Any, written: str) -> None:
    assert plain(amount) == written


NAMED: list[tuple[str, str, dict[str, str], str]] = [
    ("hold.release", "hold", {}, "unknown_hold"),
    ("hold.capture", "hold", {"to_account": "BOB", "amount": "1.00"}, "unknown_hold"),
    ("journal.reverse", "journal", {}, "unknown_journal"),
    ("case.status", "case", {"status": "completed"}, "unknown_case"),
    ("case.process", "case", {}, "unknown_case"),
    ("payment.move", "payment", {"status": "sent"}, "unknown_payment"),
    ("order.cancel", "order", {}, "unknown_order"),
]


@pytest.mark.parametrize("case", NAMED, ids=[type for type, *_ in NAMED])
async def test_a_thing_is_named_by_its_number_in_one_way_only(db: Database, case: tuple[str, str, dict[str, str], str]) -> None:
    type, field, more, code = case
    async with _bank(db) as client:
        held, journal = await _hold(client, "1"), body_of(await _journal(client, "1"))["id"]
        there = journal if field == "journal" else held
        for number in ("0{}", "00{}", " {}", "{} ", "+{}", "{}_0", "\uff11\uff12", "9" * 19, "9" * 400, "abc", ""):
            answer = await _proposed(client, type, {field: number.format(there), **more})
            assert (answer.status_code, code_of(answer)) == (404, code), (number, answer.text)


@pytest.mark.parametrize("number", [str(2**63), str(2**64), "9" * 30])
@pytest.mark.parametrize(
    ("type", "payload"),
    [
        ("journal.post", {"journals": [{"kind": "x", "ref_id": ..., "entries": []}]}),
        ("journal.post", {"journals": [{"kind": "x", "task_id": ..., "entries": []}]}),
        ("journal.post", {"journals": [{"kind": "x", "entries": [], "guards": [{"account": "BOB", "seq": ...}]}]}),
        ("hold.place", {"holds": [{"account": "ALICE", "amount": "1.00", "expires_in_s": ...}]}),
        ("subject.erase", {"subject": "1", "reason": "r", "most_rows": ...}),
    ],
)
async def test_a_number_that_cannot_be_stored_is_refused(db: Database, number: str, type: str, payload: Any) -> None:
    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: filled(each) for name, each in value.items()}
        return [filled(each) for each in value] if isinstance(value, list) else number if value is ... else value

    async with _bank(db) as client:
        answer = await _proposed(client, type, filled(payload))
    assert (answer.status_code, code_of(answer)) == (422, "payload_malformed"), answer.text


def test_a_number_of_a_thing_is_refused_as_unknown() -> None:
    assert actions.number_of("12", "hold") == 12
    with pytest.raises(NotFound, match="unknown_hold"):
        actions.number_of("012", "hold")
