"""The verb that brings payments to their next status, with the money that goes along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tallystick import ledger
from tallystick.db import Claimed, ReadTx, Tx, key_reused
from tallystick.kit import Conflict, Invalid, TallystickError, digest
from tallystick.payments import mirrors, store
from tallystick.payments.booking import (
    Answer,
    check_currency,
    check_size,
    post_on_day,
    record,
    refused,
    start_of,
    text_of,
    unknown_account,
    unknown_payment,
)
from tallystick.payments.model import STATUSES, History, Move, Nostro, Payment, may_become


async def move(tx: Tx, principal: str, moves: Sequence[Move]) -> list[Answer]:
    """Bring payments to their next status, with the money that goes along; one answer each, in order; at most 4,096.

    `sent` moves nothing; `settled` goes from clearing to the nostro; `rejected`, `returned` and `cancelled` give back to the
    customer, or to suspense where the customer's account is closed or frozen by now; an incoming payment is `assigned` from
    suspense to `account`, or `returned` from suspense to the nostro. The status that a payment has already is fine and changes
    nothing. Errors: `unknown_payment`, `unknown_account`, `currency_mismatch`, `same_account`, `reason_missing`,
    `impossible_transition`, `posting_refused` (the books do not allow it; nothing has changed), `key_reused`,
    `payment_repeated`. `Unavailable` (`contention`) is raised where an account was frozen or closed at the same moment.
    """
    check_size(moves)
    answers: dict[int, Answer] = {}
    accounts = await ledger.references(tx, (each.account for each in moves if each.account is not None))
    checked: list[tuple[int, Move]] = []
    for place, wanted in enumerate(moves):
        try:
            _check_move(wanted, accounts)
            checked.append((place, wanted))
        except TallystickError as refusal:
            answers[place] = refusal
    claims = await _claim_moves(tx, principal, [wanted for _, wanted in checked])
    claimed = [(place, wanted, claim.state) for (place, wanted), claim in zip(checked, claims, strict=True)]
    answers |= {place: key_reused() for place, _, state in claimed if state == "reused"}
    before = await store.histories(tx, sorted({wanted.payment_id for _, wanted, state in claimed if state == "replay"}))
    # A call that was refused took its key along with its neighbours' and has brought the payment nowhere: it is tried again.
    fresh = [
        (place, wanted)
        for place, wanted, state in claimed
        if state == "fresh" or (state == "replay" and not _has_been(before.get(wanted.payment_id), wanted))
    ]
    answers |= await _carry_out(tx, principal, fresh, accounts)
    after = await store.histories(tx, sorted({wanted.payment_id for _, wanted in checked}))
    for place, wanted in checked:
        if place not in answers:
            answers[place] = after[wanted.payment_id].as_of(wanted.status)
    return [answers[place] for place in range(len(moves))]


async def see(tx: Tx, payment_id: int) -> Payment:
    """Lock a payment that is about to be moved, and say what it is. Refuses with `NotFound` (`unknown_payment`)."""
    await store.lock(tx, [payment_id])
    found = await store.histories(tx, [payment_id])
    if payment_id not in found:
        raise unknown_payment(payment_id)
    return found[payment_id].payment


def _check_move(wanted: Move, accounts: Mapping[str, ledger.AccountRef]) -> None:
    if wanted.status not in STATUSES:
        raise Invalid("unknown_status", f"a payment is {', '.join(sorted(STATUSES))}")
    if wanted.status in ("rejected", "returned") and not (wanted.reason or "").strip():
        raise Invalid("reason_missing", "a payment is rejected or returned for a reason")
    text_of(wanted.reason, "the reason", 200)
    if (wanted.account is None) == (wanted.status == "assigned"):
        raise Invalid("account_missing", "a payment is assigned to an account, and only then")
    if wanted.account is not None and wanted.account not in accounts:
        raise unknown_account(wanted.account)


async def _claim_moves(tx: Tx, principal: str, moves: Sequence[Move]) -> list[Claimed]:
    if not moves:
        return []
    hashes = [None if wanted.key is None else _hash_of_move(wanted) for wanted in moves]
    return await store.take_move_keys(tx, principal, [wanted.key for wanted in moves], hashes)


def _has_been(before: History | None, wanted: Move) -> bool:
    return before is not None and before.has_been(wanted.status)


def _hash_of_move(wanted: Move) -> bytes:
    booked = None if wanted.booked_on is None else wanted.booked_on.isoformat()
    return digest([wanted.payment_id, wanted.status, wanted.reason, wanted.account, booked])


@dataclass(frozen=True, slots=True)
class _Step:
    """A move that may be made, with where its money goes: from `debit` to `credit`, or nowhere."""

    place: int
    row: store.Locked
    wanted: Move
    debit: int | None = None
    credit: int | None = None
    account: int | None = None
    to_customer: bool = False


async def _carry_out(
    tx: Tx, principal: str, fresh: Sequence[tuple[int, Move]], accounts: Mapping[str, ledger.AccountRef]
) -> dict[int, Answer]:
    """Make the moves that are possible, together; the refusals of the others, by place."""
    if not fresh:
        return {}
    refusals: dict[int, Answer] = {}
    rows = await store.lock(tx, sorted({wanted.payment_id for _, wanted in fresh}))
    nostros = await _nostros_of(tx, rows)
    open_accounts = await _open_accounts(tx, rows)
    steps: list[_Step] = []
    seen: set[int] = set()
    for place, wanted in fresh:
        try:
            if wanted.payment_id in seen:
                raise Invalid("payment_repeated", "a batch moves each payment once")
            row = rows.get(wanted.payment_id)
            if row is None:
                raise unknown_payment(wanted.payment_id)
            seen.add(row.id)
            if not _is_there(row, wanted, accounts):
                nostro = nostros[row.nostro_id]
                steps.append(_step(place, row, wanted, nostro, accounts=accounts, open_accounts=open_accounts))
        except TallystickError as refusal:
            refusals[place] = refusal
    return refusals | await _post_steps(tx, principal, steps)


def _is_there(row: store.Locked, wanted: Move, accounts: Mapping[str, ledger.AccountRef]) -> bool:
    """Whether the payment is what it should become; refuses with `Conflict` what it cannot become."""
    same_account = wanted.account is None or accounts[wanted.account].id == row.account_id
    if row.status == wanted.status and same_account:
        return True
    if not may_become(row.direction, row.status, wanted.status):
        raise Conflict(
            "impossible_transition", f"a payment {row.direction} that is {row.status} does not become {wanted.status}"
        )
    return False


def _step(
    place: int,
    row: store.Locked,
    wanted: Move,
    nostro: Nostro,
    *,
    accounts: Mapping[str, ledger.AccountRef],
    open_accounts: frozenset[int],
) -> _Step:
    if wanted.status == "sent":
        return _Step(place, row, wanted)
    if wanted.status == "settled":
        return _Step(place, row, wanted, nostro.clearing_id, nostro.id)
    if row.direction == "in" and wanted.status == "returned":
        return _Step(place, row, wanted, nostro.suspense_id, nostro.id, nostro.suspense_id)
    if wanted.account is not None:
        account = accounts[wanted.account]
        check_currency(account.asset, nostro, account.name)
        if account.id in (nostro.id, nostro.clearing_id, nostro.suspense_id):
            raise Invalid("same_account", "a payment is assigned to an account that is not the nostro's own")
        return _Step(place, row, wanted, nostro.suspense_id, account.id, account.id)
    # Given back: from where the money is by now, to the customer, or to suspense where the customer cannot take it.
    debit = nostro.id if row.status == "settled" else nostro.clearing_id
    if row.account_id in open_accounts:
        return _Step(place, row, wanted, debit, row.account_id, row.account_id, to_customer=True)
    return _Step(place, row, wanted, debit, nostro.suspense_id, nostro.suspense_id)


async def _post_steps(tx: Tx, principal: str, steps: Sequence[_Step]) -> dict[int, Answer]:
    refusals: dict[int, Answer] = {}
    moving = [(step, step.debit, step.credit) for step in steps if step.debit is not None and step.credit is not None]
    journals = [
        ledger.Journal(
            kind=f"external_payment_{step.wanted.status}",
            entries=ledger.transfer(debit=debit, credit=credit, amount=step.row.amount),
            actor=principal,
            ref_id=step.row.id,
            effective_at=start_of(step.wanted.booked_on),
        )
        for step, debit, credit in moving
    ]
    journal_ids: dict[int, int | None] = {step.place: None for step in steps}
    for (step, _, _), posted in zip(moving, await post_on_day(tx, journals), strict=True):
        if posted.refusal is not None:
            refusals[step.place] = refused(posted.refusal, raced=step.to_customer)
        journal_ids[step.place] = posted.journal_id
    made = [step for step in steps if step.place not in refusals]
    if made:
        moved = [
            store.Moved(
                step.row.id,
                step.row.status,
                step.wanted.status,
                step.wanted.reason,
                step.account,
                journal_ids[step.place],
                step.wanted.booked_on,
            )
            for step in made
        ]
        assert await store.move(tx, principal, moved) == len(made), "the rows are locked"
        detail = {"payments": [[step.row.id, step.wanted.status] for step in made]}
        await record(tx, principal, "payments.move", made[0].row.id, detail)
    return refusals


async def _nostros_of(tx: ReadTx, rows: Mapping[int, store.Locked]) -> dict[int, Nostro]:
    ids = sorted({row.nostro_id for row in rows.values()})
    return {nostro.id: nostro for nostro in await mirrors.nostros(tx, ids=ids, limit=len(ids))}


async def _open_accounts(tx: ReadTx, rows: Mapping[int, store.Locked]) -> frozenset[int]:
    ids = sorted({row.account_id for row in rows.values() if row.account_id is not None})
    return frozenset(found.id for found in await ledger.accounts(tx, ids=ids, limit=len(ids)) if found.status == "open")
