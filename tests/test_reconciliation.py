"""Reconciliation: what another bank's statement says beside what our books say, against a model in plain Python."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from tallystick import audit, ledger, payments
from tallystick.db import Database
from tallystick.kit import Conflict, Invalid, NotFound, TallystickError
from tallystick.statements import StatementFile, StatementLine
from tests.serving import ALICE, fund

NOSTRO = "NOSTRO-1"
DAY = date(2026, 3, 1)
OTHER = payments.Counterparty("Jana Nova", "DE89370400440532013000")


@dataclass(frozen=True)
class Mirrored:
    """An entry of the nostro account as a statement would show it."""

    amount: int
    reference: str | None = None
    day: int = 0


async def _nostro(db: Database, name: str = NOSTRO) -> payments.Nostro:
    async with db.write() as tx:
        await ledger.open_accounts(tx, [ledger.AccountSpec("WORLD", "CZK", "internal", None)])
        return await payments.register(tx, "me", name=name, bank="B", their_account=name, currency="CZK")


async def _post(db: Database, nostro: payments.Nostro, entries: list[Mirrored]) -> None:
    async with db.write() as tx:
        world = (await ledger.account(tx, "WORLD")).id
        journals = [
            ledger.Journal(
                "t",
                [(nostro.id, -entry.amount), (world, entry.amount)],
                "me",
                effective_at=datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(days=entry.day),
                meta={"end_to_end_id": entry.reference} if entry.reference else {},
            )
            for entry in entries
        ]
        assert [posted.refusal for posted in await ledger.post(tx, journals)] == [None] * len(journals)


def _line(number: int, amount: int, end_to_end_id: str | None = None, day: int | None = 0, **more: Any) -> StatementLine:
    booked = None if day is None else DAY + timedelta(days=day)
    told: dict[str, Any] = {"reference": None, "booked_on": booked, "valued_on": None, "text": None} | more
    return StatementLine(number=number, amount=amount, end_to_end_id=end_to_end_id, **told)


def _file(lines: list[StatementLine], name: str = "S1", nostro: str = NOSTRO, **balances: int | None) -> StatementFile:
    return StatementFile(name, nostro, "CZK", balances.get("opening"), balances.get("closing"), tuple(lines))


async def _import(db: Database, file: StatementFile, nostro: str = NOSTRO, **more: Any) -> payments.Imported:
    digest = more.pop("file_digest", hashlib.sha256(repr(file).encode()).digest())
    async with db.write() as tx:
        return await payments.import_statements(tx, "me", nostro, [file], file_digest=digest, **more)


async def _items(db: Database, id: int = 1, **filters: Any) -> list[payments.Item]:
    async with db.read() as tx:
        return await payments.items(tx, id, limit=1000, **filters)


async def _outcomes(db: Database, id: int = 1) -> list[tuple[str, int | None, int | None, str | None]]:
    return [(item.outcome, item.number, item.entry_seq, item.rule) for item in await _items(db, id)]


async def test_the_same_reference_and_amount_is_matched_whatever_the_day(db: Database) -> None:
    nostro = await _nostro(db)
    await _post(db, nostro, [Mirrored(500, "A", day=-90), Mirrored(-300, "B")])
    await _import(db, _file([_line(1, -300, None, reference="B"), _line(2, 500, "A")]))
    assert await _outcomes(db) == [("matched", 1, 2, "reference"), ("matched", 2, 1, "end_to_end_id")]


async def test_the_same_reference_and_another_amount_differs_unless_it_goes_the_other_way(db: Database) -> None:
    nostro = await _nostro(db)
    await _post(db, nostro, [Mirrored(500, "A"), Mirrored(-300, "B")])
    imported = await _import(db, _file([_line(1, 501, "A"), _line(2, 300, "B")]))
    assert await _outcomes(db) == [
        ("differing", 1, 1, "end_to_end_id"), ("missing_in_ledger", 2, None, None), ("missing_in_statement", None, 2, None),
    ]  # fmt: skip
    (report,) = imported.reconciliations
    assert report.totals["differing"] == payments.Total(1, 501, 500)
    assert report.totals["missing_in_ledger"] == payments.Total(1, 300, 0)
    assert report.totals["missing_in_statement"] == payments.Total(1, 0, -300)
    assert not report.agrees


async def test_an_equal_amount_is_preferred_to_a_differing_one(db: Database) -> None:
    nostro = await _nostro(db)
    await _post(db, nostro, [Mirrored(1, "A"), Mirrored(2, "A"), Mirrored(3, "A")])
    await _import(db, _file([_line(1, 3, "A"), _line(2, 4, "A"), _line(3, 1, "A")]))
    assert await _outcomes(db) == [
        ("matched", 1, 3, "end_to_end_id"), ("differing", 2, 2, "end_to_end_id"), ("matched", 3, 1, "end_to_end_id"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("apart", "tolerance", "found"), [(3, 3, True), (4, 3, False), (-3, 3, True), (0, 0, True), (1, 0, False)]
)
async def test_without_a_reference_amount_and_day_decide(db: Database, apart: int, tolerance: int, found: bool) -> None:
    nostro = await _nostro(db)
    await _post(db, nostro, [Mirrored(500, None)])
    await _import(db, _file([_line(1, 500, None, apart)]), tolerance_days=tolerance)
    assert (await _outcomes(db))[0] == (("matched", 1, 1, "amount_and_date") if found else ("missing_in_ledger", 1, None, None))


async def test_what_could_be_two_is_matched_with_neither(db: Database) -> None:
    nostro = await _nostro(db)
    await _post(db, nostro, [Mirrored(500), Mirrored(500, None, 1), Mirrored(700), Mirrored(900, "A")])
    await _import(db, _file([_line(1, 500), _line(2, 700), _line(3, 700), _line(4, 900, "B"), _line(5, 500, None, None)]))
    assert {outcome for outcome, _, _, _ in await _outcomes(db)} == {"missing_in_ledger", "missing_in_statement"}


async def test_what_has_another_reference_is_no_partner_and_stands_in_nobodys_way(db: Database) -> None:
    nostro = await _nostro(db)
    await _post(db, nostro, [Mirrored(500, "A"), Mirrored(500), Mirrored(700, "C")])
    await _import(db, _file([_line(1, 500, "B"), _line(2, 700, "D"), _line(3, 700)]))
    assert (await _outcomes(db))[:3] == [
        ("matched", 1, 2, "amount_and_date"), ("missing_in_ledger", 2, None, None), ("matched", 3, 3, "amount_and_date"),
    ]  # fmt: skip


async def test_a_line_without_a_booking_day_takes_its_value_day(db: Database) -> None:
    nostro = await _nostro(db)
    await _post(db, nostro, [Mirrored(500)])
    await _import(db, _file([_line(1, 500, None, None, valued_on=DAY)]))
    assert await _outcomes(db) == [("matched", 1, 1, "amount_and_date")]


async def test_an_entry_is_matched_once_whatever_statement_tells_of_it(db: Database) -> None:
    nostro = await _nostro(db)
    await _post(db, nostro, [Mirrored(500, "A")])
    await _import(db, _file([_line(1, 500, "A")]))
    await _import(db, _file([_line(1, 500, "A")], "S2"))
    assert await _outcomes(db, 1) == [("matched", 1, 1, "end_to_end_id")]
    assert await _outcomes(db, 2) == [("missing_in_ledger", 1, None, None)]


async def test_an_entry_after_the_last_day_is_not_missing_in_the_statement(db: Database) -> None:
    nostro = await _nostro(db)
    await _post(db, nostro, [Mirrored(1), Mirrored(2, None, -40), Mirrored(3, None, 1), Mirrored(4, None, 2)])
    await _import(db, _file([_line(1, 99, None, 1)]))
    assert [(item.entry_seq, item.entry_amount) for item in await _items(db, outcome="missing_in_statement")] == [
        (1, 1), (2, 2), (3, 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("opening", "closing", "differences", "agrees"),
    [
        (100, 150, (0, 0, 0), True),
        (None, None, (None, None, None), True),
        (None, 151, (None, 1, None), False),
        (99, 149, (-1, -1, 0), False),
        (100, 151, (0, 1, 1), False),
    ],
)
async def test_the_balances_are_compared(
    db: Database, opening: int | None, closing: int | None, differences: tuple[int | None, ...], agrees: bool
) -> None:
    nostro = await _nostro(db)
    await _post(db, nostro, [Mirrored(100, "old", -5), Mirrored(50, "A"), Mirrored(7, "later", 3)])
    await _import(db, _file([_line(1, 100, "old", -5)], "S0", opening=0, closing=100))
    imported = await _import(db, _file([_line(1, 50, "A")], opening=opening, closing=closing))
    (report,) = imported.reconciliations
    assert (report.opening, report.closing) == (100, 150)
    assert (report.opening_difference, report.closing_difference, report.unexplained_by_lines) == differences
    assert report.agrees is agrees


async def test_a_statement_without_lines_is_of_the_day_it_was_imported(db: Database) -> None:
    nostro = await _nostro(db)
    await _post(db, nostro, [Mirrored(5)])
    (report,) = (await _import(db, _file([], opening=5, closing=5))).reconciliations
    assert report.head.opening_on == report.head.closing_on == report.head.imported_at.date()
    assert (report.opening, report.closing, report.agrees) == (5, 5, False)
    assert report.totals["missing_in_statement"].count == 1


async def test_a_file_is_imported_once_and_given_again_finds_what_was_posted_since(db: Database) -> None:
    nostro = await _nostro(db)
    file = _file([_line(1, 500, "A"), _line(2, 600, "B")])
    await _post(db, nostro, [Mirrored(500, "A")])
    first = await _import(db, file)
    again = await _import(db, file)
    assert again == first
    await _post(db, nostro, [Mirrored(600, "B")])
    (later,) = (await _import(db, file)).reconciliations
    assert (later.head, later.agrees) == (first.reconciliations[0].head, True)
    with pytest.raises(Conflict, match="statement_exists"):
        await _import(db, replace(file, lines=file.lines[:1]))
    async with db.read() as tx:
        assert len(await payments.heads(tx)) == 1


async def test_the_same_key_imports_once_and_stands_for_one_request(db: Database) -> None:
    nostro = await _nostro(db)
    file = _file([_line(1, 500, "A")])
    await _import(db, file, key="k")
    await _post(db, nostro, [Mirrored(500, "A")])
    assert not (await _import(db, file, key="k")).reconciliations[0].agrees
    with pytest.raises(Invalid, match="key_reused"):
        await _import(db, file, key="k", settle=True)
    assert (await _import(db, file, key="k2")).reconciliations[0].agrees


async def test_imports_at_once_leave_one_statement_and_one_match_an_entry(db: Database) -> None:
    nostro = await _nostro(db)
    await _post(db, nostro, [Mirrored(500, "A")] * 20)
    lines = [_line(number, 500, "A") for number in range(1, 16)]
    files = [_file(lines, name) for name in ("S1", "S2")] * 3
    await asyncio.gather(*(_import(db, file) for file in files))
    found = [item for id in (1, 2) for item in await _items(db, id) if item.number is not None]
    assert Counter(item.outcome for item in found) == {"matched": 20, "missing_in_ledger": 10}
    assert len({item.entry_seq for item in found if item.entry_seq}) == 20
    async with db.read() as tx:
        assert len(await payments.heads(tx, nostro=NOSTRO)) == 2


async def test_sent_payments_are_settled_only_on_demand_and_only_by_reference_and_amount(db: Database) -> None:
    await fund(db)
    await _nostro(db)
    out = payments.Outgoing(NOSTRO, ALICE, "100.00", OTHER, end_to_end_id="A")
    async with db.write() as tx:
        await payments.send(tx, "me", [out, out, replace(out, end_to_end_id="B"), replace(out, end_to_end_id="C"), out])
        await payments.move(tx, "me", [payments.Move(id, "sent") for id in (1, 2, 3, 4)])
    file = _file([_line(1, -10_000, "A"), _line(2, -10_001, "B"), _line(3, 10_000, "C"), _line(4, -10_000)])
    plain = await _import(db, file)
    assert (plain.settled, plain.reconciliations[0].totals["missing_in_ledger"].count) == (0, 4)
    settled = await _import(db, file, settle=True)
    assert (settled.settled, settled.not_settled) == (1, 0)
    again = await _import(db, file, settle=True)
    assert again.settled == 0
    async with db.read() as tx:
        assert [(await payments.get(tx, id)).payment.status for id in (1, 2, 3, 4, 5)] == [
            "settled", "sent", "sent", "sent", "created",
        ]  # fmt: skip
        nostro = await payments.nostro(tx, NOSTRO)
        (entry,) = await ledger.entries(tx, nostro.id)
        assert (entry.amount, entry.effective_at) == (10_000, datetime(2026, 3, 1, tzinfo=UTC))
        assert {row.difference for row in await ledger.trial_balance(tx)} == {0}
    (first, *_) = await _items(db)
    assert (first.outcome, first.rule, first.payment_id, first.entry_amount) == ("matched", "end_to_end_id", 1, -10_000)


async def test_lines_of_a_closed_day_settle_and_the_day_agrees(db: Database) -> None:
    await fund(db)
    await _nostro(db)
    async with db.write() as tx:
        await payments.send(tx, "me", [payments.Outgoing(NOSTRO, ALICE, "5.00", OTHER, end_to_end_id="A")])
        await payments.move(tx, "me", [payments.Move(1, "sent")])
        await ledger.close_period(tx, datetime(2026, 3, 2, tzinfo=UTC), actor="me")
        await payments.receive(tx, "me", [payments.Incoming(NOSTRO, ALICE, "7.00", OTHER, booked_on=DAY)])
    imported = await _import(db, _file([_line(1, -500, "A"), _line(2, 700)], opening=0, closing=200), settle=True)
    assert (imported.settled, imported.not_settled) == (1, 0)
    assert await _outcomes(db) == [("matched", 1, 2, "end_to_end_id"), ("matched", 2, 1, "amount_and_date")]
    assert imported.reconciliations[0].agrees


async def test_a_payment_that_is_settled_already_takes_its_line_before_one_that_is_sent(db: Database) -> None:
    await fund(db)
    await _nostro(db)
    out = payments.Outgoing(NOSTRO, ALICE, "100.00", OTHER, end_to_end_id="A")
    async with db.write() as tx:
        await payments.send(tx, "me", [out, out])
        await payments.move(tx, "me", [payments.Move(id, "sent") for id in (1, 2)])
        await payments.move(tx, "me", [payments.Move(2, "settled")])
    imported = await _import(db, _file([_line(1, -10_000, "A")]), settle=True)
    assert (imported.settled, imported.reconciliations[0].totals["matched"].count) == (0, 1)


async def test_a_person_matches_what_no_rule_matches_and_says_why(db: Database) -> None:
    nostro = await _nostro(db)
    await _post(db, nostro, [Mirrored(500), Mirrored(300)])
    await _import(db, _file([_line(1, 499), _line(2, 300, None, 20)]))
    async with db.write() as tx:
        await payments.match_by_hand(tx, "jana", 1, number=1, entry_seq=1, why="a fee of 0.01")
        await payments.match_by_hand(tx, "jana", 1, number=2, entry_seq=2, why="booked late")
        for number, seq in ((1, 2), (2, 1), (9, 1), (1, 9)):
            with pytest.raises(Conflict, match="not_open"):
                await payments.match_by_hand(tx, "jana", 1, number=number, entry_seq=seq, why="x")
        with pytest.raises(NotFound, match="unknown_reconciliation"):
            await payments.match_by_hand(tx, "jana", 9, number=1, entry_seq=1, why="x")
        with pytest.raises(Invalid, match="text_malformed"):
            await payments.match_by_hand(tx, "jana", 1, number=1, entry_seq=1, why=" ")
        event = await audit.latest(tx, subject_kind="reconciliation", subject_id=1, verb="payments.match")
    differing, matched = await _items(db)
    assert (differing.outcome, differing.person, differing.why) == ("differing", "jana", "a fee of 0.01")
    assert (matched.outcome, matched.rule, matched.why) == ("matched", "hand", "booked late")
    assert event is not None
    assert event.detail == {"line": 2, "entry": 2, "differs": False}


async def test_what_a_person_explains_is_no_finding_any_more_and_is_left_alone(db: Database) -> None:
    nostro = await _nostro(db)
    await _post(db, nostro, [Mirrored(500, "A"), Mirrored(300, "B"), Mirrored(1, "M")])
    file = _file([_line(1, 499, "A"), _line(2, 70, "X"), _line(3, 1, "M")])
    (before,) = (await _import(db, file)).reconciliations
    async with db.write() as tx:
        await payments.explain(tx, "jana", 1, number=1, why="their fee")
        await payments.explain(tx, "jana", 1, number=2, why="theirs, to be taken back")
        await payments.explain(tx, "jana", 1, entry_seq=2, why="ours, reversed")
        for place in ({"number": 1}, {"number": 3}, {"number": 9}, {"entry_seq": 1}, {"entry_seq": 2}, {"entry_seq": 9}):
            with pytest.raises(Conflict, match="not_open"):
                await payments.explain(tx, "jana", 1, **place, why="again")
        for both in ({}, {"number": 1, "entry_seq": 1}):
            with pytest.raises(Invalid, match="line_or_entry"):
                await payments.explain(tx, "jana", 1, **both, why="x")
        with pytest.raises(Conflict, match="not_open"):
            await payments.match_by_hand(tx, "jana", 1, number=2, entry_seq=2, why="x")
    await _post(db, nostro, [Mirrored(70, "X")])
    (after,) = (await _import(db, file)).reconciliations
    assert not before.agrees
    assert after.totals["explained"] == payments.Total(3, 569, 800)
    assert [(item.outcome, item.entry_seq) for item in await _items(db)] == [
        ("explained", 1), ("explained", None), ("matched", 3), ("explained", 2), ("missing_in_statement", 4),
    ]  # fmt: skip
    assert [item.why for item in await _items(db, outcome="explained")] == [
        "their fee", "theirs, to be taken back", "ours, reversed",
    ]  # fmt: skip


async def test_items_are_paged_in_one_order(db: Database) -> None:
    nostro = await _nostro(db)
    await _post(db, nostro, [Mirrored(number, f"E{number}") for number in range(1, 8)])
    await _import(db, _file([_line(number, number, f"E{number}") for number in range(5, 12)]))
    every = await _items(db)
    paged: list[payments.Item] = []
    async with db.read() as tx:
        while page := await payments.items(tx, 1, after=paged[-1].place if paged else 0, limit=3):
            paged += page
    assert paged == every
    assert [(item.outcome, item.number or item.entry_seq) for item in every] == [
        *(("matched", number) for number in (5, 6, 7)), *(("missing_in_ledger", number) for number in (8, 9, 10, 11)),
        *(("missing_in_statement", seq) for seq in (1, 2, 3, 4)),
    ]  # fmt: skip
    for outcome in payments.OUTCOMES:
        assert await _items(db, outcome=outcome) == [item for item in every if item.outcome == outcome]
    with pytest.raises(NotFound, match="unknown_reconciliation"):
        await _items(db, 9)


@pytest.mark.parametrize(
    ("changes", "more", "code"),
    [
        ({"currency": "EUR"}, {}, "currency_mismatch"),
        ({"account": "OTHER"}, {}, "statement_of_another_account"),
        ({"statement_id": ""}, {}, "text_malformed"),
        ({"statement_id": "x" * 101}, {}, "text_too_long"),
        ({"opening": 10**19}, {}, "number_out_of_range"),
        ({"lines": (_line(1, 5 * 10**18), _line(2, -5 * 10**18))}, {}, "number_out_of_range"),
        ({}, {"tolerance_days": 32}, "tolerance_out_of_range"),
        ({}, {"tolerance_days": -1}, "tolerance_out_of_range"),
        ({}, {"nostro": "NOBODY"}, "unknown_nostro"),
    ],
)
async def test_a_statement_that_makes_no_sense_is_refused(
    db: Database, changes: dict[str, Any], more: dict[str, Any], code: str
) -> None:
    await _nostro(db)
    with pytest.raises(TallystickError, match=code):
        await _import(db, replace(_file([_line(1, 1)]), **changes), **more)
    async with db.read() as tx:
        assert await payments.heads(tx) == []


async def test_a_statement_over_a_million_lines_is_refused(db: Database) -> None:
    await _nostro(db)
    with pytest.raises(Invalid, match="statement_too_large"):
        await _import(db, _file([_line(1, 1)] * 1_000_001), file_digest=bytes(32))


async def test_files_are_read_for_the_account_of_the_nostro(db: Database) -> None:
    nostro = await _nostro(db)
    (file,) = payments.read_file(b"amount,end_to_end_id\n5.00,A\n", form="csv", nostro=nostro, scales={"CZK": 2})
    assert (file.account, file.currency, file.lines[0].amount) == (NOSTRO, "CZK", 500)
    assert file.statement_id.startswith("csv-")
    with pytest.raises(Invalid, match="statement_malformed"):
        payments.read_file(b"<x/>", form="camt053", nostro=nostro, scales={"CZK": 2})
    with pytest.raises(Invalid, match="statement_of_another_account"):
        payments.read_file(CAMT.replace(b"NOSTRO-1", b"OTHER"), form="camt053", nostro=nostro, scales={"CZK": 2})
    with pytest.raises(Invalid, match="statement_malformed"):
        payments.read_file(CAMT, form="camt053", nostro=nostro, scales={"EUR": 2})
    (camt,) = payments.read_file(CAMT, form="camt053", nostro=nostro, scales={"CZK": 2})
    assert (camt.statement_id, camt.opening, camt.closing, len(camt.lines)) == ("2026-060", 0, 12_345, 1)


CAMT = b"""<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt><GrpHdr><MsgId>M</MsgId></GrpHdr><Stmt>
<Id>2026-060</Id><Acct><Id><Othr><Id>NOSTRO-1</Id></Othr></Id><Ccy>CZK</Ccy></Acct>
<Bal><Tp><CdOrPrtry><Cd>OPBD</Cd></CdOrPrtry></Tp><Amt Ccy="CZK">0.00</Amt><CdtDbtInd>CRDT</CdtDbtInd></Bal>
<Bal><Tp><CdOrPrtry><Cd>CLBD</Cd></CdOrPrtry></Tp><Amt Ccy="CZK">123.45</Amt><CdtDbtInd>CRDT</CdtDbtInd></Bal>
<Ntry><Amt Ccy="CZK">123.45</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>2026-03-01</Dt></BookgDt>
<NtryDtls><TxDtls><Refs><EndToEndId>E2E-1</EndToEndId></Refs></TxDtls></NtryDtls></Ntry></Stmt></BkToCstmrStmt></Document>
"""


# The model: the same rules, in the order of the documentation, one pair at a time.


@dataclass
class _Model:
    entries: list[Mirrored]
    taken: dict[int, tuple[int, int, str, bool]]
    """By the place of an entry: the statement and the line that tell of it, the rule, and whether the amounts differ."""

    def match(self, statement: int, lines: list[StatementLine], tolerance: int) -> None:
        def free_lines() -> list[StatementLine]:
            told = {line for of, line, _, _ in self.taken.values() if of == statement}
            return [line for line in lines if line.number not in told and line.amount]

        def free_entries() -> list[tuple[int, Mirrored]]:
            return [(place, entry) for place, entry in enumerate(self.entries, 1) if place not in self.taken]

        for differs in (False, True):
            for rule in ("end_to_end_id", "reference"):
                for line in free_lines():
                    wanted = line.end_to_end_id if rule == "end_to_end_id" else line.reference
                    for place, entry in free_entries():
                        same = (line.amount > 0) == (entry.amount > 0) if differs else line.amount == entry.amount
                        if wanted is not None and wanted == entry.reference and same:
                            self.taken[place] = (statement, line.number, rule, differs)
                            break

        def alike(line: StatementLine, entry: Mirrored) -> bool:
            day = line.booked_on or line.valued_on
            return (
                line.amount == entry.amount
                and day is not None
                and abs((day - DAY).days - entry.day) <= tolerance
                and not (line.end_to_end_id and entry.reference)
            )

        found = []
        for line in free_lines():
            partners = [(place, entry) for place, entry in free_entries() if alike(line, entry)]
            if len(partners) == 1 and sum(alike(other, partners[0][1]) for other in free_lines()) == 1:
                found.append((partners[0][0], line.number))
        for place, number in found:
            self.taken[place] = (statement, number, "amount_and_date", False)


_RUNS = itertools.count()
_AMOUNT = st.sampled_from([-2, -1, 1, 2, 3])
_REFERENCE = st.sampled_from([None, None, "A", "B", "C"])
_ENTRIES = st.lists(st.builds(Mirrored, _AMOUNT, _REFERENCE, st.integers(0, 4)), max_size=12)
_OWN = st.sampled_from([None, None, "A", "C", "Z"])
_LINES = st.lists(
    st.tuples(_AMOUNT | st.just(0), _REFERENCE, st.none() | st.integers(0, 4), st.sampled_from([None, None, "A", "C", "Z"])),
    max_size=10,
)


@hypothesis.given(st.lists(st.tuples(_ENTRIES, _LINES, st.integers(0, 2)), min_size=1, max_size=3))
@hypothesis.settings(max_examples=60, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
async def test_matches_are_those_of_a_model_in_plain_python(db: Database, rounds: list[Any]) -> None:
    name = f"R{next(_RUNS)}"
    nostro = await _nostro(db, name)
    model = _Model([], {})
    statements: list[tuple[int, StatementFile]] = []
    for number, (entries, told, tolerance) in enumerate(rounds):
        await _post(db, nostro, entries)
        model.entries += entries
        lines = [_line(place, amount, ref, day, reference=own) for place, (amount, ref, day, own) in enumerate(told, 1)]
        file = _file(lines, f"S{number}", name)
        # What was open before is matched again as well, with what was posted since.
        for id, earlier in statements:
            model.match(id, list(earlier.lines), tolerance)
            await _import(db, earlier, name, tolerance_days=tolerance)
        (report,) = (await _import(db, file, name, tolerance_days=tolerance)).reconciliations
        statements.append((report.head.id, file))
        model.match(report.head.id, lines, tolerance)
    found: dict[int, tuple[int, int, str, bool]] = {}
    for id, file in statements:
        every = await _items(db, id)
        of_lines = [item for item in every if item.number is not None]
        assert [item.number for item in of_lines] == [line.number for line in file.lines]
        for item in of_lines:
            if item.entry_seq is not None:
                found[item.entry_seq] = (id, item.number or 0, item.rule or "", item.outcome == "differing")
                assert item.entry_amount == model.entries[item.entry_seq - 1].amount
            else:
                assert item.outcome == "missing_in_ledger"
        async with db.read() as tx:
            report = await payments.reconciliation(tx, id)
        missing = [
            place
            for place, entry in enumerate(model.entries, 1)
            if place not in model.taken and DAY + timedelta(days=entry.day) <= report.head.closing_on
        ]
        assert [item.entry_seq for item in every if item.number is None] == missing
        assert report.closing == sum(
            entry.amount for entry in model.entries if DAY + timedelta(days=entry.day) <= report.head.closing_on
        )
        assert {outcome: total.count for outcome, total in report.totals.items() if total.count} == dict(
            Counter(item.outcome for item in every)
        )
        assert sum(total.theirs for total in report.totals.values()) == sum(line.amount for line in file.lines)
    assert found == model.taken
