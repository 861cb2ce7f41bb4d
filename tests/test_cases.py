"""Cases: what comes in, and how it moves."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal

import pytest

from tallystick import audit, cases
from tallystick.db import Database
from tallystick.kit import Conflict, Invalid, NotFound

STATUSES = list(cases.EVENT_STATUSES)


async def _event(db: Database, *path: str, customer: str = "CUST-1") -> int:
    async with db.write() as tx:
        case = await cases.open_event(tx, "me", customer=customer, type="t", payload_text="{}")
        for status in path:
            await cases.set_status(tx, "me", case.id, status)
    return case.id


async def _request(db: Database, customer: str = "CUST-1") -> int:
    async with db.write() as tx:
        return (await cases.open_request(tx, "me", customer=customer, type="t", payload={})).id


async def test_a_request_is_received_with_its_payload_exact(db: Database) -> None:
    async with db.write() as tx:
        case = await cases.open_request(tx, "me", customer="CUST-1", type="t", payload={"notional": Decimal("1.50")})
        found = await cases.get(tx, case.id, "request")
    assert found == case
    assert (case.status, case.door, case.payload_text, case.result) == ("received", "request", None, None)
    assert case.payload is not None
    assert str(case.payload["notional"]) == "1.50"


@pytest.mark.parametrize("text", ["", '{"amount": 25000, "risk_score": 0.72}', "no JSON: {[", "é" * 32_768, "\u2028\t\n'\""])
async def test_an_event_keeps_its_text_as_it_is(db: Database, text: str) -> None:
    async with db.write() as tx:
        case = await cases.open_event(tx, "me", customer="CUST-1", type="t", payload_text=text)
        found = await cases.get(tx, case.id, "event")
    assert (found.payload_text, found.payload, found.status) == (text, None, "queued")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a\x00", "text_malformed"),
        ("\ud800", "text_malformed"),
        ("x" * 65_537, "text_too_long"),
        ("é" * 32_769, "text_too_long"),
    ],
)
async def test_text_that_cannot_be_kept_is_refused(db: Database, text: str, code: str) -> None:
    async with db.write() as tx:
        with pytest.raises(Invalid, match=code):
            await cases.open_event(tx, "me", customer="CUST-1", type="t", payload_text=text)


async def test_the_customer_need_not_exist_and_must_have_a_name(db: Database) -> None:
    async with db.write() as tx:
        assert (
            await cases.open_request(tx, "me", customer="nobody-yet", type="onboarding", payload={})
        ).customer == "nobody-yet"
        with pytest.raises(Invalid, match="name_malformed"):
            await cases.open_request(tx, "me", customer="no body", type="onboarding", payload={})


@pytest.mark.parametrize("old", STATUSES)
@pytest.mark.parametrize("new", STATUSES)
async def test_an_event_moves_forward_only(db: Database, old: str, new: str) -> None:
    case_id = await _event(db, *([] if old == "queued" else [old]))
    allowed = new == old or cases.EVENT_STATUSES[new] > cases.EVENT_STATUSES[old]
    async with db.write() as tx:
        if allowed:
            assert (await cases.set_status(tx, "me", case_id, new)).status == new
        else:
            with pytest.raises(Conflict, match="impossible_transition"):
                await cases.set_status(tx, "me", case_id, new)
    async with db.read() as read:
        assert (await cases.get(read, case_id)).status == (new if allowed else old)


async def test_an_unknown_status_and_an_unknown_event_are_refused(db: Database) -> None:
    event, request = await _event(db), await _request(db)
    async with db.write() as tx:
        with pytest.raises(Invalid, match="unknown_status"):
            await cases.set_status(tx, "me", event, "nonsense")
        for case_id in (request, 999):
            with pytest.raises(NotFound, match="unknown_case"):
                await cases.set_status(tx, "me", case_id, "processing")
        with pytest.raises(NotFound, match="unknown_case"):
            await cases.get(tx, event, "request")


async def test_the_status_it_has_already_changes_nothing_and_is_not_recorded(db: Database) -> None:
    case_id = await _event(db, "processing")
    async with db.write() as tx:
        before = await cases.get(tx, case_id)
        recorded = await audit.latest(tx, subject_kind="case", subject_id=case_id)
        assert await cases.set_status(tx, "me", case_id, "processing") == before
        assert await audit.latest(tx, subject_kind="case", subject_id=case_id) == recorded
    assert recorded is not None
    assert recorded.detail == {"from": "queued", "to": "processing"}


async def test_of_opposite_answers_at_once_exactly_one_wins(db: Database) -> None:
    case_id = await _event(db, "processing")

    async def answer(status: str) -> str:
        try:
            async with db.write() as tx:
                return (await cases.set_status(tx, "me", case_id, status)).status
        except Conflict as refusal:
            return refusal.code

    answers = Counter(await asyncio.gather(*(answer(status) for status in ("approved", "rejected") * 4)))
    async with db.read() as tx:
        won = (await cases.get(tx, case_id)).status
    assert answers == {won: 4, "impossible_transition": 4}


async def test_pending_events_are_the_queued_ones_oldest_first(db: Database) -> None:
    ids = [await _event(db) for _ in range(4)]
    await _request(db)
    async with db.write() as tx:
        await cases.set_status(tx, "me", ids[1], "processing")
        first = await cases.pending_events(tx, 2)
        rest = await cases.pending_events(tx, 9, after=first[-1].id)
    assert [case.id for case in first] == [ids[0], ids[2]]
    assert [case.id for case in rest] == [ids[3]]


async def test_a_result_is_recorded_once_with_its_audit_event(db: Database) -> None:
    case_id = await _request(db)
    async with db.write() as tx:
        first = await cases.record_result(tx, "me", case_id, {"decision": "review", "confidence": Decimal("0.50")})
    async with db.write() as tx:
        second = await cases.record_result(tx, "you", case_id, {"decision": "approved"})
        event = await audit.latest(tx, subject_kind="case", subject_id=case_id, verb="processed")
    assert first.status == "processed"
    assert first.changed_at > first.created_at
    assert second == first
    assert event is not None
    assert (event.principal, event.payload) == ("me", first.result)


async def test_results_at_once_leave_one_and_one_event(db: Database) -> None:
    case_id = await _request(db)

    async def record(number: int) -> cases.Case:
        async with db.write() as tx:
            return await cases.record_result(tx, f"p{number}", case_id, {"n": number})

    recorded = await asyncio.gather(*(record(number) for number in range(6)))
    async with db.read() as tx:
        opened = await audit.latest(tx, subject_kind="case", subject_id=case_id, verb="cases.open")
        processed = await audit.latest(tx, subject_kind="case", subject_id=case_id, verb="processed")
    assert len({str(case.result) for case in recorded}) == 1
    assert opened is not None
    assert processed is not None
    assert (processed.id, processed.payload) == (opened.id + 1, recorded[0].result)


async def test_an_event_takes_no_result_and_an_unknown_case_is_not_found(db: Database) -> None:
    event = await _event(db)
    async with db.write() as tx:
        for case_id in (event, 999):
            with pytest.raises(NotFound, match="unknown_case"):
                await cases.record_result(tx, "me", case_id, {})


async def test_pages_by_customer_door_and_status_come_newest_first(db: Database) -> None:
    events = [await _event(db, customer="A"), await _event(db, "processing", customer="A"), await _event(db, customer="B")]
    request = await _request(db, customer="A")
    async with db.read() as tx:
        assert [case.id for case in await cases.page(tx)] == [request, *events[::-1]]
        assert [case.id for case in await cases.page(tx, customer="A", before=request)] == events[1::-1]
        assert [case.id for case in await cases.page(tx, door="event", status="queued")] == [events[2], events[0]]
        assert [case.id for case in await cases.page(tx, limit=1)] == [request]
        with pytest.raises(Invalid, match="unknown_status"):
            await cases.page(tx, status="nonsense")
