"""The verbs of the external payments: send, receive, move on.

Locks go in the order of the house: idempotency keys, then the rows of payments in id order, then balances.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Any, TypeVar

from tallystick import audit, ledger
from tallystick.db import Claimed, ReadTx, Tx, key_reused
from tallystick.kit import Conflict, Invalid, NotFound, TallystickError, Unavailable, check_text, digest, parse_minor
from tallystick.payments import mirrors, store
from tallystick.payments.model import STATUSES, Counterparty, History, Incoming, Move, Nostro, Outgoing, may_become

MAX_BATCH = 4096
_NEWEST = 2**63 - 1
_OUT, _IN = "external_payment_out", "external_payment_in"
_NOT_PROVIDED = "NOTPROVIDED"
_CANNOT_TAKE = frozenset({"account_closed", "account_frozen"})
ledger.keep_kind("external_payment_")

New = TypeVar("New", Outgoing, Incoming)
Answer = History | TallystickError


@dataclass(frozen=True, slots=True)
class _Checked:
    """A payment that makes sense: its nostro is known, its amount exact. `account` is the customer's, where one can take it."""

    place: int
    nostro: Nostro
    account: int | None
    amount: int
    new: Outgoing | Incoming
    counterparty: Counterparty
    end_to_end_id: str | None
    remittance: str | None
    reason: str | None = None

    @property
    def direction(self) -> str:
        return "out" if isinstance(self.new, Outgoing) else "in"

    def hash(self) -> bytes:
        new, other = self.new, self.counterparty
        named = new.account if isinstance(new, Outgoing) else new.beneficiary
        booked = None if isinstance(new, Outgoing) or new.booked_on is None else new.booked_on.isoformat()
        said = [self.end_to_end_id, other.name, other.account, other.bank, self.remittance, booked]
        return digest([self.direction, self.nostro.id, named, self.amount, said])


async def send(tx: Tx, principal: str, payments: Sequence[Outgoing]) -> list[Answer]:
    """Make payments to accounts at other banks; one answer each, in order; at most 4,096.

    The money leaves the customer's account at once, for the clearing account of the nostro: the payment is `created`. One that
    the business refuses (`insufficient_funds`, `account_closed`, `account_frozen`) is stored as `failed` with its reason; no
    money has moved. An answer that is an error (`unknown_nostro`, `unknown_account`, `same_account`, `currency_mismatch`,
    `amount_…`, `counterparty_missing`, `text_…`, `key_reused`) stored nothing, and leaves its neighbours alone.
    """
    _check_size(payments)
    known = await mirrors.resolve(tx, (new.nostro for new in payments))
    accounts = await ledger.references(tx, (new.account for new in payments))

    def check(place: int, new: Outgoing) -> _Checked:
        return _check_outgoing(place, new, known, accounts)

    return await _make(tx, principal, payments, check, _post_outgoing)


async def receive(tx: Tx, principal: str, payments: Sequence[Incoming]) -> list[Answer]:
    """Book payments that another bank has given to us; one answer each, in order; at most 4,096.

    The money is there, so it is always booked: to the customer's account (`received`), or to the suspense account of the
    nostro where no customer can take it (`unmatched`, with the reason `unknown_account`, `account_closed`, `account_frozen`,
    `currency_mismatch`, or `not_a_customer_account`). Errors are those of `send`; `Unavailable` (`contention`) is raised where
    an account was frozen or closed at the same moment.
    """
    _check_size(payments)
    known = await mirrors.resolve(tx, (new.nostro for new in payments))
    accounts = await ledger.resolve(tx, (new.beneficiary for new in payments))

    def check(place: int, new: Incoming) -> _Checked:
        return _check_incoming(place, new, known, accounts)

    return await _make(tx, principal, payments, check, _post_incoming)


async def move(tx: Tx, principal: str, moves: Sequence[Move]) -> list[Answer]:
    """Bring payments to their next status, with the money that goes along; one answer each, in order; at most 4,096.

    `sent` moves nothing; `settled` goes from clearing to the nostro; `rejected`, `returned` and `cancelled` give back to the
    customer, or to suspense where the customer's account is closed or frozen by now; an incoming payment is `assigned` from
    suspense to `account`, or `returned` from suspense to the nostro. The status that a payment has already is fine and changes
    nothing. Errors: `unknown_payment`, `unknown_account`, `currency_mismatch`, `same_account`, `reason_missing`,
    `impossible_transition`, `posting_refused` (the books do not allow it; nothing has changed), `key_reused`,
    `payment_repeated`. `Unavailable` (`contention`) is raised where an account was frozen or closed at the same moment.
    """
    _check_size(moves)
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


async def get(tx: ReadTx, payment_id: int) -> History:
    """The payment with that id, and its steps; refuses with `NotFound` (`unknown_payment`)."""
    found = await store.histories(tx, [payment_id])
    if payment_id not in found:
        raise _unknown_payment(payment_id)
    return found[payment_id]


async def page(
    tx: ReadTx,
    *,
    nostro: str | None = None,
    account: str | None = None,
    direction: str | None = None,
    status: str | None = None,
    end_to_end_id: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[History]:
    """A page of payments below the id `before`, newest first; of one nostro, account, direction, status or reference.

    Refuses with `Invalid` (`unknown_status`) and `NotFound` (`unknown_nostro`, `unknown_account`).
    """
    if status is not None and status not in STATUSES:
        raise Invalid("unknown_status", f"a payment is {', '.join(sorted(STATUSES))}")
    return await store.page(
        tx,
        nostro_id=None if nostro is None else (await mirrors.nostro(tx, nostro)).id,
        account_id=None if account is None else (await ledger.account(tx, account)).id,
        direction=direction,
        status=status,
        end_to_end_id=end_to_end_id,
        before=before or _NEWEST,
        limit=limit,
    )


def _check_size(items: Sequence[object]) -> None:
    if len(items) > MAX_BATCH:
        raise Invalid("batch_too_large", f"a batch may hold {MAX_BATCH} payments")


def _check_outgoing(
    place: int, new: Outgoing, known: Mapping[str, Nostro], accounts: Mapping[str, ledger.AccountRef]
) -> _Checked:
    nostro = _nostro(known, new.nostro)
    account = accounts.get(new.account)
    if account is None:
        raise _unknown_account(new.account)
    if account.id in (nostro.id, nostro.clearing_id, nostro.suspense_id):
        raise Invalid("same_account", "a payment goes from an account that is not the nostro's own")
    _check_currency(account.asset, nostro, account.name)
    checked = _checked(place, new, nostro, account.id, None)
    if checked.counterparty.name is None or checked.counterparty.account is None:
        raise Invalid("counterparty_missing", "a payment out names the person and the account that it goes to")
    return checked


def _check_incoming(place: int, new: Incoming, known: Mapping[str, Nostro], accounts: Mapping[str, ledger.Account]) -> _Checked:
    nostro = _nostro(known, new.nostro)
    if not new.beneficiary.strip():
        raise Invalid("text_malformed", "the beneficiary must be named, even where nobody knows the name")
    check_text(new.beneficiary, "the beneficiary", 100)
    account = accounts.get(new.beneficiary)
    reason = _why_unmatched(account, nostro)
    return _checked(place, new, nostro, None if account is None or reason else account.id, reason)


def _why_unmatched(account: ledger.Account | None, nostro: Nostro) -> str | None:
    if account is None:
        return "unknown_account"
    if account.kind != "customer":
        return "not_a_customer_account"
    if account.asset != nostro.asset:
        return "currency_mismatch"
    return f"account_{account.status}" if account.status != "open" else None


def _checked(place: int, new: Outgoing | Incoming, nostro: Nostro, account: int | None, reason: str | None) -> _Checked:
    if new.currency is not None and new.currency != nostro.asset:
        raise Invalid("currency_mismatch", f"the amount is in {new.currency} and the nostro holds {nostro.asset}")
    other = new.counterparty
    return _Checked(
        place,
        nostro=nostro,
        account=account,
        amount=parse_minor(new.amount, nostro.unit),
        new=new,
        counterparty=Counterparty(
            _text(other.name, "the counterparty's name", 140),
            _text(other.account, "the counterparty's account", 64),
            _text(other.bank, "the counterparty's bank", 100),
        ),
        end_to_end_id=_reference(new.end_to_end_id),
        remittance=_text(new.remittance, "the remittance text", 500),
        reason=reason,
    )


def _check_move(wanted: Move, accounts: Mapping[str, ledger.AccountRef]) -> None:
    if wanted.status not in STATUSES:
        raise Invalid("unknown_status", f"a payment is {', '.join(sorted(STATUSES))}")
    if wanted.status in ("rejected", "returned") and not (wanted.reason or "").strip():
        raise Invalid("reason_missing", "a payment is rejected or returned for a reason")
    _text(wanted.reason, "the reason", 200)
    if (wanted.account is None) == (wanted.status == "assigned"):
        raise Invalid("account_missing", "a payment is assigned to an account, and only then")
    if wanted.account is not None and wanted.account not in accounts:
        raise _unknown_account(wanted.account)


async def _make(
    tx: Tx,
    principal: str,
    payments: Sequence[New],
    check: Callable[[int, New], _Checked],
    post: Callable[[Tx, str, Sequence[_Checked], Mapping[int, int]], Awaitable[list[store.NewRow]]],
) -> list[Answer]:
    answers: dict[int, Answer] = {}
    checked: list[_Checked] = []
    for place, new in enumerate(payments):
        try:
            checked.append(check(place, new))
        except TallystickError as refusal:
            answers[place] = refusal
    keys = [item.new.key for item in checked]
    hashes = [None if item.new.key is None else item.hash() for item in checked]
    claims = await store.take_keys(tx, principal, keys, hashes) if checked else []
    ids = {item.place: claimed.ref_id for item, claimed in zip(checked, claims, strict=True) if claimed.state != "reused"}
    fresh = [item for item, claimed in zip(checked, claims, strict=True) if claimed.state == "fresh"]
    if fresh:
        rows = await post(tx, principal, fresh, ids)
        await store.insert(tx, principal, rows)
        detail = {"payments": [[row.id, row.status] for row in rows]}
        verb = "payments.send" if rows[0].direction == "out" else "payments.receive"
        await _record(tx, principal, verb, rows[0].id, detail)
    found = await store.histories(tx, sorted(set(ids.values())))
    for item in checked:
        answers[item.place] = found[ids[item.place]].as_first_answered() if item.place in ids else key_reused()
    return [answers[place] for place in range(len(payments))]


async def _post_outgoing(tx: Tx, principal: str, fresh: Sequence[_Checked], ids: Mapping[int, int]) -> list[store.NewRow]:
    journals = [
        ledger.Journal(
            kind=_OUT,
            entries=ledger.transfer(debit=_payer(item), credit=item.nostro.clearing_id, amount=item.amount),
            actor=principal,
            ref_id=ids[item.place],
        )
        for item in fresh
    ]
    return [
        _row(item, ids[item.place], "failed" if posted.refusal else "created", posted, item.account)
        for item, posted in zip(fresh, await ledger.post(tx, journals), strict=True)
    ]


def _payer(item: _Checked) -> int:
    assert item.account is not None, "a payment out that names no account was refused"
    return item.account


async def _post_incoming(tx: Tx, principal: str, fresh: Sequence[_Checked], ids: Mapping[int, int]) -> list[store.NewRow]:
    takers = [item.account if item.account is not None else item.nostro.suspense_id for item in fresh]
    journals = [
        ledger.Journal(
            kind=_IN,
            entries=ledger.transfer(debit=item.nostro.id, credit=taker, amount=item.amount),
            actor=principal,
            ref_id=ids[item.place],
            effective_at=_start_of(_booked_on(item.new)),
        )
        for item, taker in zip(fresh, takers, strict=True)
    ]
    rows = []
    for item, taker, posted in zip(fresh, takers, await _post_on_day(tx, journals), strict=True):
        if posted.refusal is not None:
            raise _refused(posted.refusal, raced=item.account is not None)
        status = "received" if item.account is not None else "unmatched"
        rows.append(_row(item, ids[item.place], status, posted, taker))
    return rows


def _row(item: _Checked, payment_id: int, status: str, posted: ledger.Posted, step_account: int | None) -> store.NewRow:
    reference = item.end_to_end_id
    return store.NewRow(
        id=payment_id,
        direction=item.direction,
        nostro_id=item.nostro.id,
        account_id=item.account,
        beneficiary=item.new.beneficiary if isinstance(item.new, Incoming) else None,
        amount=item.amount,
        asset=item.nostro.asset,
        end_to_end_id=reference or (f"TALLYSTICK{payment_id}" if item.direction == "out" else None),
        counterparty=item.counterparty,
        remittance=item.remittance,
        status=status,
        reason=posted.refusal or item.reason,
        journal_id=posted.journal_id,
        step_account=step_account,
        booked_on=_booked_on(item.new),
    )


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
                raise _unknown_payment(wanted.payment_id)
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
        _check_currency(account.asset, nostro, account.name)
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
            effective_at=_start_of(step.wanted.booked_on),
        )
        for step, debit, credit in moving
    ]
    journal_ids: dict[int, int | None] = {step.place: None for step in steps}
    for (step, _, _), posted in zip(moving, await _post_on_day(tx, journals), strict=True):
        if posted.refusal is not None:
            refusals[step.place] = _refused(posted.refusal, raced=step.to_customer)
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
        await _record(tx, principal, "payments.move", made[0].row.id, detail)
    return refusals


async def _post_on_day(tx: Tx, journals: Sequence[ledger.Journal]) -> list[ledger.Posted]:
    """Post journals on the other bank's days; what it booked on a day that our books have closed is effective now."""
    answers = await ledger.post(tx, journals)
    # Whoever posts keeps the mark of closed periods where it is, and has locked the balances of what was refused too.
    closed = [place for place, answer in enumerate(answers) if answer.refusal == "period_closed"]
    again = await ledger.post(tx, [replace(journals[place], effective_at=None) for place in closed])
    later = dict(zip(closed, again, strict=True))
    return [later.get(place, answer) for place, answer in enumerate(answers)]


async def _nostros_of(tx: ReadTx, rows: Mapping[int, store.Locked]) -> dict[int, Nostro]:
    ids = sorted({row.nostro_id for row in rows.values()})
    return {nostro.id: nostro for nostro in await mirrors.nostros(tx, ids=ids, limit=len(ids))}


async def _open_accounts(tx: ReadTx, rows: Mapping[int, store.Locked]) -> frozenset[int]:
    ids = sorted({row.account_id for row in rows.values() if row.account_id is not None})
    return frozenset(found.id for found in await ledger.accounts(tx, ids=ids, limit=len(ids)) if found.status == "open")


async def _record(tx: Tx, principal: str, verb: str, subject_id: int, detail: Mapping[str, Any]) -> None:
    await audit.append(
        tx, principal=principal, verb=verb, subject_kind="external_payment", subject_id=subject_id, detail=detail
    )


def _refused(refusal: str, *, raced: bool) -> Conflict:
    """The books say no. Where an account was open a moment ago, the call is to be made again: it finds another way then."""
    if raced and refusal in _CANNOT_TAKE:
        raise Unavailable("contention", "an account was frozen or closed at the same moment; try again")
    return Conflict("posting_refused", f"the books refuse it: {refusal}")


def _booked_on(new: Outgoing | Incoming) -> date | None:
    return new.booked_on if isinstance(new, Incoming) else None


def _start_of(day: date | None) -> datetime | None:
    return None if day is None else datetime.combine(day, time.min, UTC)


def _nostro(known: Mapping[str, Nostro], name: str) -> Nostro:
    if name not in known:
        raise mirrors.unknown_nostro(name)
    return known[name]


def _check_currency(asset: str, nostro: Nostro, name: str) -> None:
    if asset != nostro.asset:
        raise Invalid("currency_mismatch", f"{name} holds {asset} and the nostro holds {nostro.asset}")


def _reference(text: str | None) -> str | None:
    """An end-to-end id of ISO 20022: up to 35 characters; `NOTPROVIDED` stands for none."""
    given = _text(text, "the end-to-end id", 35)
    return None if given is None or given == _NOT_PROVIDED else given


def _text(text: str | None, what: str, max_length: int) -> str | None:
    """Text without blanks around it; blank is none."""
    return check_text(text, what, max_length).strip() or None if text is not None else None


def _unknown_account(name: str) -> NotFound:
    return NotFound("unknown_account", f"there is no account {name}")


def _unknown_payment(payment_id: int) -> NotFound:
    return NotFound("unknown_payment", f"there is no external payment {payment_id}")
