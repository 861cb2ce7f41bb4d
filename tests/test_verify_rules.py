"""What the verifier knows beside digests: what was cut off, what other rooms know, the rules; and what it does not find."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tallystick.db import Database
from tests.conftest import TestDatabase
from tests.kept_books import Books, cut_off, is_named, kept


@pytest.fixture
async def books(db: Database, database: TestDatabase) -> AsyncIterator[Books]:
    """See `kept`."""
    async with kept(db, database) as books:
        yield books


async def _one(books: Books, query: str) -> Any:
    cursor = await books.connection.execute(query.encode())
    row = await cursor.fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("journals", [1, 2, 3])
async def test_the_newest_entries_cut_off_are_found(books: Books, journals: int) -> None:
    newest = await _one(books, f"select id from ledger.journal order by id desc offset {journals - 1} limit 1")
    last = await books.keys("entry")
    cursor = await books.connection.execute(f"select account_id, seq from ledger.entry where journal_id >= {newest}".encode())
    cut = await cursor.fetchall()
    entries, journals_too, _ = cut_off(newest)
    alone = await books.found(entries)
    assert len(last) > len(cut) > 0
    assert all(is_named(alone, "journal", (number,)) for number in {newest, (await books.keys("journal"))[-1][0]})
    with_journals = await books.found(entries, journals_too)
    first_cut = {account: min(seq for of, seq in cut if of == account) for account, _ in cut}
    for account, seq in first_cut.items():
        assert is_named(with_journals, "entry", (account, seq))
        assert is_named(with_journals, "balance", (account,))


async def test_journals_cut_off_with_everything_in_the_books_are_missed_by_who_knows_of_them(books: Books) -> None:
    of_transfer = await _one(books, "select journal_id from actions.transfer")
    assert is_named(await books.found(*cut_off(of_transfer)), "journal", (of_transfer,))
    keyed = await _one(books, "select ref_id from db.claim where scope = 'me' and key = 'b'")
    found = await books.found(*cut_off(keyed))
    assert is_named(found, "journal", (keyed,))
    assert is_named(found, "refusal", (keyed,))
    assert is_named(
        found, "hold_change", (await _one(books, "select hold_id from ledger.hold_change where kind = 'captured'"), 1)
    )
    effective = await _one(books, "select max(id) from ledger.journal where effective_at < '2024-03-01 16:00Z'")
    found = await books.found(*cut_off(effective))
    assert {finding.place for finding in found if finding.code == "closing_differs"} == {
        f"account_id={books.ids[name]}" for name in ("mint", "alice")
    }


async def test_newest_journals_that_nobody_knows_of_can_be_taken_back_without_a_trace(books: Books) -> None:
    # What docs/verify.md says is not found; the sealed record is to find it.
    newest = (await books.keys("journal"))[-1][0]
    assert await books.found(*cut_off(newest)) == []


async def test_a_change_whose_digest_was_made_anew_is_not_found(books: Books) -> None:
    # As above.
    columns = "code, kind, scale"
    assert await books.found(
        "update ledger.asset set scale = 3 where code = 'SEK'",
        f"update ledger.asset set digest = sha256(record_send(row({columns}, null::bytea))) where code = 'SEK'",
    ) == []  # fmt: skip


async def test_what_other_rooms_know_of_the_books_is_checked(books: Books) -> None:
    newest = (await books.keys("journal"))[-1][0]
    transfer = await books.found("update actions.transfer set amount = amount + 1")
    assert [finding.code for finding in transfer] == ["reference_differs"]
    of_transfer = await books.found(f"update actions.transfer set journal_id = {newest + 1}")
    assert [(finding.code, finding.place) for finding in of_transfer] == [("row_missing", f"id={newest + 1}")]
    of_payment = await books.found(
        "insert into payments.payment_step (payment_id, status, journal_id, principal)"
        f" values (1, 'sent', {newest}, 'me'), (2, 'sent', {newest + 1}, 'me')"
    )
    assert [(finding.code, finding.place) for finding in of_payment] == [("row_missing", f"id={newest + 1}")]
    of_accrual = await books.found(
        "insert into closing.accrual"
        " (account_id, day_id, from_date, balance, parts, total_parts, owed, journal_id, posted_total)"
        f" values (1, 1, '2024-02-29', 1, 26280, 26280, 1, {newest + 1}, 1)"
    )
    assert [(finding.code, finding.place) for finding in of_accrual] == [("row_missing", f"id={newest + 1}")]
    closing_balance = await books.found("update closing.balance set balance = balance + 1 where account_id = 1")
    assert [(finding.code, finding.place) for finding in closing_balance] == [("closing_differs", "account_id=1")]


async def test_two_payments_of_one_batch_whose_receivers_were_exchanged_are_found(books: Books) -> None:
    # Every sum and every time is as it was: only the journals know who was paid by which.
    a, b = [await _one(books, f"select ref_id from db.claim where key = '{key}'") for key in "ab"]
    found = await books.found(
        f"update ledger.entry set journal_id = {a} + {b} - journal_id where journal_id in ({a}, {b}) and amount > 0"
    )
    assert {(finding.code, finding.place) for finding in found} == {("row_altered", f"id={a}"), ("row_altered", f"id={b}")}


async def test_rules_are_checked_beside_digests(books: Books) -> None:
    """What was posted against the rules, with digests as they should be, as a defect of the program would have it."""
    journal = (
        "insert into ledger.journal"
        " select nextval('ledger.journal_id'), kind, ref_id, actor, on_behalf_of, task_id, approval_id"
    )
    some = f"from ledger.journal where id = {(await books.keys('journal'))[-1][0]}"
    early = await books.found(f"{journal}, reverses, hold_id, '2024-01-01', posted_at, meta, digest {some}")
    assert {finding.code for finding in early} == {"row_altered", "too_few_entries", "period_breached"}
    hold = (await books.keys("hold"))[0][0]
    capture = await books.found(f"{journal}, reverses, {hold}, effective_at, posted_at, meta, digest {some}")
    assert {finding.code for finding in capture} == {"row_altered", "too_few_entries", "capture_differs"}
    reversal = await _one(books, "select id from ledger.journal where reverses is not null limit 1")
    again = await books.found(f"{journal}, {reversal}, null, effective_at, posted_at, meta, digest {some}")
    assert "not_reversible" in {finding.code for finding in again}
    part = await _one(
        books, "select reverses from ledger.journal group by reverses having count(*) = 2 and count(reverses) = 2"
    )
    more = await books.found(
        "update ledger.entry set amount = amount * 10"
        f" where journal_id in (select id from ledger.journal where reverses = {part})"
    )
    assert ("reversal_exceeded", f"id={part}") in {(finding.code, finding.place) for finding in more}
    twice = await books.found(
        "insert into ledger.hold_change select hold_id, n + 1, 'released', 0, 1, null, actor, changed_at, digest"
        " from ledger.hold_change where kind = 'released'"
    )
    assert {"resolved_twice", "hold_exceeded"} <= {finding.code for finding in twice}
    refused = await books.found(f"insert into ledger.refusal select id, 'none', now(), '' {some}")
    assert {"number_used_twice", "refusal_unclaimed"} <= {finding.code for finding in refused}
    other = await books.found("update db.claim set scope = 'another' where key = 'a'")
    assert [finding.code for finding in other] == ["claim_differs"]
    release = await books.found("update db.claim set hash = sha256('') where key = 'release'")
    assert [finding.relation for finding in release] == ["ledger.refusal", "ledger.hold_change"]
    sums = await books.found("update ledger.balance set cr = cr + 1 where account_id = 1")
    assert {finding.code for finding in sums} == {"balance_differs", "trial_balance"}
    fx = await _one(books, "select id from ledger.journal where kind = 'fx'")
    earlier = "set posted_at = posted_at - interval '1 minute'"
    order = await books.found(
        f"update ledger.journal {earlier} where id = {fx}", f"update ledger.entry {earlier} where journal_id = {fx}"
    )
    assert "entry_order" in {finding.code for finding in order}
    period = await books.found("update ledger.closed_period set closed_until = closed_at + interval '1 day'")
    assert {"row_altered", "period_order"} <= {finding.code for finding in period}
    same = await books.found(f"update ledger.hold set id = {fx} where id = {hold}")
    assert "number_used_twice" in {finding.code for finding in same}
    await books.connection.execute("select setval('ledger.journal_id', 1)")
    assert {finding.code for finding in (await books.verified()).findings} == {"number_unknown"}


async def test_of_each_code_the_first_hundred_are_listed_and_all_are_counted(books: Books) -> None:
    async with books.connection.transaction(force_rollback=True):
        await books.connection.execute("set local session_replication_role = replica")
        await books.connection.execute(
            "insert into ledger.refusal (ref_id, code, digest) select -n, 'none', '' from generate_series(1, 250) as n"
        )
        found = await books.verified()
    assert found.counts == {"row_altered": 250, "refusal_unclaimed": 250}
    assert (found.total, len(found.findings)) == (500, 200)
