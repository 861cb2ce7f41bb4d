"""The promises of the books one by one, each in its smallest case; `test_ledger_machine.py` has them all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from tallystick import ledger
from tallystick.db import Database
from tallystick.kit import Conflict, Invalid

BANK, ALICE, BOB = "bank", "alice", "bob"


@pytest.fixture
async def ids(db: Database) -> dict[str, int]:
    """A bank, and Alice and Bob with 100 each."""
    specs = [
        ledger.AccountSpec(BANK, "CZK", "internal", None),
        ledger.AccountSpec(ALICE, "CZK"),
        ledger.AccountSpec(BOB, "CZK"),
    ]
    async with db.write() as tx:
        opened = await ledger.open_accounts(tx, specs)
        found = {spec.name: account.id for spec, account in zip(specs, opened, strict=True)}
        await ledger.post(tx, [_pay(found, BANK, ALICE, 100), _pay(found, BANK, BOB, 100)])
    return found


def _pay(ids: dict[str, int], debit: str, credit: str, amount: int, **options: object) -> ledger.Journal:
    entries = ledger.transfer(debit=ids[debit], credit=ids[credit], amount=amount)
    return ledger.Journal("t", entries, "me", **options)  # type: ignore[arg-type]


async def _post(
    db: Database, *journals: ledger.Journal, mode: ledger.Mode = "independent", dry_run: bool = False
) -> list[str | None]:
    async with db.write() as tx:
        return [answer.refusal for answer in await ledger.post(tx, journals, mode=mode, dry_run=dry_run)]


async def _hold(db: Database, account: int, amount: int, **options: object) -> ledger.Placed:
    async with db.write() as tx:
        new = ledger.NewHold(account, amount, "me", **options)  # type: ignore[arg-type]
        return (await ledger.place_holds(tx, [new]))[0]


async def _release(db: Database, *hold_ids: int | None, key: str | None = None) -> list[str | None]:
    async with db.write() as tx:
        releases = [ledger.Release(hold_id or 0, "me", key) for hold_id in hold_ids]
        return [answer.refusal for answer in await ledger.release_holds(tx, releases)]


async def _reverse(db: Database, journal_id: int | None, *amounts: int | None) -> list[str | None]:
    async with db.write() as tx:
        reversals = [ledger.Reversal(journal_id or 0, "me", amount) for amount in amounts]
        return [answer.refusal for answer in await ledger.reverse(tx, reversals)]


async def _account(db: Database, name: str) -> ledger.Account:
    async with db.read() as tx:
        return await ledger.account(tx, name)


async def _available(db: Database, names: Sequence[str] = (ALICE, BOB)) -> list[int]:
    return [(await _account(db, name)).available for name in names]


async def test_money_crosses_currencies_through_position_accounts_and_each_sums_to_zero(
    db: Database, ids: dict[str, int]
) -> None:
    specs = [ledger.AccountSpec("fx-czk", "CZK", "internal", None), ledger.AccountSpec("fx-usd", "USD", "internal", None)]
    async with db.write() as tx:
        crowns, dollars, dora = [
            opened.id for opened in await ledger.open_accounts(tx, [*specs, ledger.AccountSpec("dora", "USD")])
        ]
        exchange = [(ids[ALICE], -90), (crowns, 90), (dollars, -4), (dora, 4)]
        lopsided = [(ids[ALICE], -5), (dora, 5)]
        answers = await ledger.post(tx, [ledger.Journal("fx", exchange, "me"), ledger.Journal("fx", lopsided, "me")])
        assert [answer.refusal for answer in answers] == [None, "unbalanced"]
        assert [asset.difference for asset in await ledger.trial_balance(tx)] == [0, 0]
    assert (await _account(db, "dora")).posted == 4


async def test_a_guard_that_does_not_hold_refuses_the_journal(db: Database, ids: dict[str, int]) -> None:
    enough, exact = ledger.Guard(ids[ALICE], available=100), ledger.Guard(ids[BOB], seq=1)
    assert await _post(db, _pay(ids, ALICE, BOB, 1, guards=[enough, exact])) == [None]
    assert await _post(db, _pay(ids, ALICE, BOB, 1, guards=[enough])) == ["guard_failed"]
    assert await _post(db, _pay(ids, ALICE, BOB, 1, guards=[exact])) == ["guard_failed"]


async def test_in_an_atomic_batch_one_refusal_refuses_all_and_is_remembered(db: Database, ids: dict[str, int]) -> None:
    batch = [_pay(ids, ALICE, BOB, 10, key="a"), _pay(ids, ALICE, BOB, 1000, key="b"), _pay(ids, ALICE, BOB, 1)]
    assert await _post(db, *batch, mode="atomic") == ["batch_refused", "insufficient_funds", "batch_refused"]
    assert await _available(db) == [100, 100]
    assert await _post(db, batch[0], mode="atomic") == ["batch_refused"]
    assert await _post(db, batch[0], batch[2]) == ["batch_refused", None]


async def test_a_dry_run_answers_and_changes_nothing_keys_included(db: Database, ids: dict[str, int]) -> None:
    batch = [_pay(ids, ALICE, BOB, 60, key="a"), _pay(ids, ALICE, BOB, 60, key="b")]
    assert await _post(db, *batch, dry_run=True) == [None, "insufficient_funds"]
    assert await _available(db) == [100, 100]
    assert await _post(db, _pay(ids, ALICE, BOB, 5, key="b")) == [None]


async def test_a_limit_that_is_cut_below_the_balance_stops_debits_and_no_credit(db: Database, ids: dict[str, int]) -> None:
    async with db.write() as tx:
        await ledger.set_floor(tx, ALICE, -50, actor="me")
    assert await _post(db, _pay(ids, ALICE, BANK, 140)) == [None]
    async with db.write() as tx:
        await ledger.set_floor(tx, ALICE, 0, actor="me")
        changes = await ledger.account_changes(tx, ids[ALICE])
    assert [(change.floor, change.actor) for change in changes] == [(0, "me"), (-50, "me"), (0, "bank")]
    assert await _post(db, _pay(ids, ALICE, BANK, 1), _pay(ids, BANK, ALICE, 10), _pay(ids, ALICE, BANK, 1)) == [
        "insufficient_funds",
        None,
        "insufficient_funds",
    ]
    assert await _available(db, [ALICE]) == [-30]
    # One that takes from the account and gives it more than that is a credit too.
    both = ledger.Journal("t", [(ids[ALICE], -5), (ids[ALICE], 10), (ids[BANK], -5)], "me")
    assert await _post(db, both) == [None]


async def test_an_account_of_a_customer_always_has_a_floor(db: Database, ids: dict[str, int]) -> None:
    async with db.write() as tx:
        with pytest.raises(Invalid, match="floor_needed"):
            await ledger.set_floor(tx, ALICE, None)


async def test_a_frozen_account_neither_gives_nor_takes_and_a_closed_one_stays_closed(
    db: Database, ids: dict[str, int]
) -> None:
    async with db.write() as tx:
        await ledger.set_status(tx, ALICE, "frozen", actor="me")
    assert await _post(db, _pay(ids, ALICE, BOB, 1), _pay(ids, BOB, ALICE, 1)) == ["account_frozen", "account_frozen"]
    async with db.write() as tx:
        with pytest.raises(Conflict, match="account_not_empty"):
            await ledger.set_status(tx, ALICE, "closed")
        await ledger.set_status(tx, ALICE, "open")
    assert await _post(db, _pay(ids, ALICE, BOB, 100)) == [None]
    async with db.write() as tx:
        await ledger.set_status(tx, ALICE, "closed")
        with pytest.raises(Conflict, match="impossible_transition"):
            await ledger.set_status(tx, ALICE, "open")
    assert await _post(db, _pay(ids, BOB, ALICE, 1)) == ["account_closed"]


async def test_what_is_held_is_not_available_and_is_captured_in_parts(db: Database, ids: dict[str, int]) -> None:
    placed = await _hold(db, ids[ALICE], 80)
    assert await _post(db, _pay(ids, ALICE, BOB, 21)) == ["insufficient_funds"]
    part = _pay(ids, ALICE, BOB, 30, hold_id=placed.hold_id)
    last = _pay(ids, ALICE, BOB, 40, hold_id=placed.hold_id, final=True)
    assert await _post(db, part, _pay(ids, ALICE, BOB, 51, hold_id=placed.hold_id), last, part) == [
        None,
        "hold_exceeded",
        None,
        "hold_resolved",
    ]
    assert await _available(db) == [30, 170]
    async with db.read() as tx:
        hold = await ledger.hold(tx, placed.hold_id or 0)
        changes = await ledger.hold_changes(tx, hold.id)
    assert (hold.status, hold.captured, hold.remaining) == ("captured", 70, 0)
    assert [(change.kind, change.taken, change.freed) for change in changes] == [("captured", 30, 0), ("captured", 40, 10)]


async def test_a_capture_is_never_short_of_funds_even_where_the_limit_was_cut(db: Database, ids: dict[str, int]) -> None:
    placed = await _hold(db, ids[ALICE], 80)
    async with db.write() as tx:
        await ledger.set_floor(tx, ALICE, 50)
    assert await _post(db, _pay(ids, ALICE, BOB, 80, hold_id=placed.hold_id)) == [None]


async def test_a_hold_is_released_once(db: Database, ids: dict[str, int]) -> None:
    placed = await _hold(db, ids[ALICE], 80)
    assert await _release(db, placed.hold_id, placed.hold_id) == [None, "hold_resolved"]
    assert await _release(db, placed.hold_id, 99_999) == ["hold_resolved", "unknown_hold"]
    assert await _available(db, [ALICE]) == [100]


async def test_of_a_capture_and_a_release_at_once_exactly_one_wins(db: Database, ids: dict[str, int]) -> None:
    for _ in range(10):
        placed = await _hold(db, ids[ALICE], 1)
        capture = _pay(ids, ALICE, BOB, 1, hold_id=placed.hold_id)
        refusals = [*await asyncio.gather(_post(db, capture), _release(db, placed.hold_id))]
        assert sorted(refusals, key=str) == [[None], ["hold_resolved"]] or sorted(refusals, key=str) == [
            ["hold_resolved"],
            [None],
        ]


async def test_a_hold_expires_by_the_databases_clock_before_anything_is_refused_for_it(
    db: Database, ids: dict[str, int]
) -> None:
    async with db.read() as tx:
        now = (await ledger.account(tx, ALICE)).opened_at
    placed = await _hold(db, ids[ALICE], 80, expires_in_s=1)
    assert placed.expires_at is not None
    assert placed.expires_at > now
    # Nothing sweeps here: what is asked for is posted as soon as the hold's time is over.
    while await _post(db, _pay(ids, ALICE, BOB, 90)) != [None]:
        await asyncio.sleep(0.02)
    async with db.write() as tx:
        assert (await ledger.hold(tx, placed.hold_id or 0)).status == "expired"
        assert await ledger.expire_holds(tx) == 0
    assert await _release(db, placed.hold_id) == ["hold_expired"]
    late = _pay(ids, ALICE, BOB, 1, hold_id=placed.hold_id)
    assert await _post(db, late) == ["hold_expired"]


async def test_the_sweep_resolves_what_is_due(db: Database, ids: dict[str, int]) -> None:
    await _hold(db, ids[ALICE], 80, expires_in_s=1)
    await _hold(db, ids[BOB], 70, expires_in_s=3600)
    swept = 0
    while not swept:
        async with db.write() as tx:
            swept = await ledger.expire_holds(tx)
    assert swept == 1
    assert [(await _account(db, name)).held for name in (ALICE, BOB)] == [0, 70]


async def test_the_sweep_is_bounded_and_takes_the_oldest_first(db: Database, ids: dict[str, int]) -> None:
    placed = [await _hold(db, ids[ALICE], 10, expires_in_s=seconds) for seconds in (2, 1, 2)]
    async with db.read() as tx:
        while (await ledger.hold(tx, placed[2].hold_id or 0)).status == "open":
            await asyncio.sleep(0.02)
    async with db.write() as tx:
        assert await ledger.expire_holds(tx, limit=1) == 1
        assert [(await ledger.hold_changes(tx, one.hold_id or 0, limit=5)) != [] for one in placed] == [False, True, False]
        assert await ledger.expire_holds(tx) == 2


async def test_an_account_whose_holds_are_over_can_be_closed_before_they_are_swept(db: Database, ids: dict[str, int]) -> None:
    placed = await _hold(db, ids[ALICE], 100, expires_in_s=1)
    async with db.read() as tx:
        while (await ledger.hold(tx, placed.hold_id or 0)).status == "open":
            await asyncio.sleep(0.02)
    assert await _post(db, _pay(ids, BANK, BOB, 1)) == [None]
    async with db.write() as tx:
        await ledger.lock(tx, [ids[ALICE]])
        assert (await ledger.account(tx, ALICE)).held == 0


async def test_a_hold_that_is_over_before_it_begins_is_refused(db: Database, ids: dict[str, int]) -> None:
    placed = await _hold(db, ids[ALICE], 1, expires_at=datetime.now(UTC) - timedelta(days=1))
    assert (placed.hold_id, placed.refusal) == (None, "expiry_is_over")


async def test_a_journal_is_taken_back_once_in_sum_and_never_more(db: Database, ids: dict[str, int]) -> None:
    async with db.write() as tx:
        (original,) = await ledger.post(tx, [_pay(ids, ALICE, BOB, 50)])
    assert await _reverse(db, original.journal_id, 20, 20, 20, 10) == [None, None, "reversal_exceeded", None]
    assert await _reverse(db, original.journal_id, None, 1) == ["reversal_exceeded", "reversal_exceeded"]
    assert await _available(db) == [100, 100]
    async with db.read() as tx:
        entries = await ledger.entries(tx, ids[ALICE], order="asc")
    assert [entry.amount for entry in entries] == [100, -50, 20, 20, 10]


async def test_reversals_of_one_journal_at_once_take_back_no_more_than_it_did(db: Database, ids: dict[str, int]) -> None:
    async with db.write() as tx:
        (original,) = await ledger.post(tx, [_pay(ids, ALICE, BOB, 50)])
    refusals = await asyncio.gather(*(_reverse(db, original.journal_id, 20) for _ in range(8)))
    assert sorted(refusals, key=str).count([None]) == 2
    assert await _available(db) == [90, 110]


async def test_a_reversal_is_not_taken_back_and_keeps_to_the_accounts_of_the_original(
    db: Database, ids: dict[str, int]
) -> None:
    async with db.write() as tx:
        (original,) = await ledger.post(tx, [_pay(ids, ALICE, BOB, 50)])
        (back,) = await ledger.reverse(tx, [ledger.Reversal(original.journal_id or 0, "me")])
    assert await _reverse(db, back.journal_id, None) == ["not_reversible"]
    assert await _reverse(db, 99_999, None) == ["unknown_journal"]
    elsewhere = _pay(ids, BANK, ALICE, 1, reverses=original.journal_id)
    assert await _post(db, elsewhere) == ["reversal_mismatch"]


async def test_nothing_is_posted_into_a_closed_period_not_even_by_who_began_before(db: Database, ids: dict[str, int]) -> None:
    day = datetime(2020, 3, 1, tzinfo=UTC)
    async with db.write() as early:
        assert (await ledger.post(early, [_pay(ids, ALICE, BOB, 1, effective_at=day)]))[0].refusal is None

        async def close() -> None:
            async with db.write() as tx:
                await ledger.close_period(tx, day + timedelta(days=1), actor="me")

        closing = asyncio.create_task(close())
        done, _ = await asyncio.wait([closing], timeout=0.3)
        assert not done, "the close did not wait for the journal that was being posted"
    await closing
    assert await _post(db, _pay(ids, ALICE, BOB, 1, effective_at=day)) == ["period_closed"]
    async with db.write() as tx:
        with pytest.raises(Invalid, match="period_not_over"):
            await ledger.close_period(tx, datetime.now(UTC) + timedelta(days=1), actor="me")


async def test_all_that_an_account_gives_and_takes_is_bounded_and_no_sum_overflows(db: Database, ids: dict[str, int]) -> None:
    most = 10**15
    many = [(ids[ALICE], most), (ids[BANK], -most)] * 1001
    churn = ledger.Journal("t", many, "me")
    assert await _post(db, churn, _pay(ids, BANK, ALICE, 5)) == ["amount_out_of_range", None]
    fits = ledger.Journal("t", many[:1998], "me")
    assert await _post(db, fits, fits, _pay(ids, ALICE, BOB, 1)) == [None, "amount_out_of_range", None]
    async with db.read() as tx:
        (trial,) = await ledger.trial_balance(tx)
        (then,) = await ledger.trial_balance_at(tx, at=None)
        (effective,) = await ledger.trial_balance_at(tx, at=None, by="effective")
    assert (trial.difference, then.difference, effective.difference) == (0, 0, 0)
    assert (trial.cr, then.cr, effective.cr) == (999 * most + 206,) * 3


async def test_turnover_of_an_asset_may_be_wider_than_64_bits(db: Database, ids: dict[str, int]) -> None:
    specs = [ledger.AccountSpec(f"wide-{number}", "CZK", "internal", None) for number in range(22)]
    async with db.write() as tx:
        wide = [opened.id for opened in await ledger.open_accounts(tx, specs)]
        for debit, credit in zip(wide[::2], wide[1::2], strict=True):
            entries = [(debit, -(10**15)), (credit, 10**15)] * 999
            assert (await ledger.post(tx, [ledger.Journal("t", entries, "me")]))[0].refusal is None
        (trial,) = await ledger.trial_balance(tx)
        (then,) = await ledger.trial_balance_at(tx, at=None, by="effective")
    assert trial.cr == then.cr == 11 * 999 * 10**15 + 200
    assert trial.cr > 2**63


async def test_the_same_key_under_another_approval_is_another_request(db: Database, ids: dict[str, int]) -> None:
    first, other = (_pay(ids, ALICE, BOB, 1, key="k", approval_id=approval) for approval in (1, 2))
    assert await _post(db, first, other, first) == [None, "key_reused", None]
    assert [(await _hold(db, ids[ALICE], 1, key="h", task_id=task)).refusal for task in (1, 2, 1)] == [None, "key_reused", None]


async def test_a_batch_is_bounded(db: Database, ids: dict[str, int]) -> None:
    with pytest.raises(Invalid, match="batch_too_large"):
        await _post(db, *[_pay(ids, ALICE, BOB, 1)] * 8193)
    refusals = await _post(db, *[_pay(ids, BANK, BOB, 1)] * 8192)
    assert refusals == [None] * 8192
