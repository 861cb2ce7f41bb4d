"""The verbs of the gate: propose transfers, settle the queued ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tallystick import audit, ledger, work
from tallystick.actions import store
from tallystick.actions.model import SETTLE_TASK, SETTLEMENT_AGENT, NewTransfer, Settled, Transfer
from tallystick.db import ReadTx, Tx, key_reused
from tallystick.kit import Invalid, NotFound, TallystickError, check_text, digest, parse_minor

_NEWEST = 2**63 - 1
ledger.keep_kind("transfer", reversible=True)


@dataclass(frozen=True, slots=True)
class _Checked:
    """A transfer whose accounts exist and whose amount is exact, in minor units."""

    place: int
    new: NewTransfer
    debit: ledger.AccountRef
    credit: ledger.AccountRef
    amount: int

    def row(self) -> store.NewRow:
        new, debit, credit = self.new, self.debit, self.credit
        facts = [debit.id, credit.id, self.amount, debit.asset, new.settle, new.description]
        hash = None if new.key is None else digest(facts)
        return store.NewRow(new.key, hash, debit.id, credit.id, self.amount, debit.asset, new.description)


Answers = dict[int, Transfer | TallystickError]


async def propose(
    tx: Tx,
    principal: str,
    transfers: Sequence[NewTransfer],
    *,
    directory: ledger.Directory | None = None,
    task_id: int | None = None,
) -> list[Transfer | TallystickError]:
    """Carry transfers out, or store them for the settlement agent; one answer each, in order.

    A transfer that the business refuses (`insufficient_funds`, `account_closed`, `account_frozen`) is stored as `failed` with
    its reason; the money has not moved. An answer that is an error (`unknown_account`, `same_account`, `currency_mismatch`,
    `amount_…`, `key_reused`) stored nothing, and leaves its neighbours alone. A key twice in one batch counts as two calls.

    `task_id` is the task that proposes them. What is to be settled now is one statement that is whole by itself; before and
    after it the books are only read.
    """
    accounts = await (directory or ledger.Directory()).find(
        tx, {name for new in transfers for name in (new.from_account, new.to_account)}
    )
    answers: Answers = {}
    checked: list[_Checked] = []
    for place, new in enumerate(transfers):
        try:
            checked.append(_check(place, new, accounts))
        except TallystickError as refusal:
            answers[place] = refusal
    queued = [item for item in checked if item.new.settle == "queued"]
    now = [item for item in checked if item.new.settle == "now"]
    if queued:
        answers |= await _queue(tx, principal, queued)
    if now:
        answers |= await _carry_out(tx, principal, now, task_id)
    return [answers[place] for place in range(len(transfers))]


async def settle(tx: Tx, transfer_ids: Sequence[int]) -> list[Settled]:
    """Post queued transfers into the ledger, in id order; one that cannot be posted ends `failed`. Each is settled once.

    Transfers that are not queued any more are answered with what became of them.
    """
    queued = await store.lock_queued(tx, transfer_ids)
    journals = [
        ledger.Journal(
            kind="transfer",
            entries=ledger.transfer(debit=row.from_account, credit=row.to_account, amount=row.amount),
            actor=SETTLEMENT_AGENT,
            on_behalf_of=row.principal,
            ref_id=row.id,
            task_id=row.task_id,
        )
        for row in queued
    ]
    posted = await ledger.post(tx, journals)
    if queued:
        await store.settle(
            tx,
            ids=[row.id for row in queued],
            statuses=["failed" if answer.refusal else "posted" for answer in posted],
            journal_ids=[answer.journal_id for answer in posted],
            reasons=[answer.refusal for answer in posted],
        )
        detail = {"transfers": [row.id for row in queued], "failed": sum(1 for answer in posted if answer.refusal)}
        await audit.append(
            tx,
            principal=SETTLEMENT_AGENT,
            verb="transfers.settle",
            subject_kind="transfer",
            subject_id=queued[0].id,
            detail=detail,
        )
    found = await store.by_ids(tx, transfer_ids)
    return [
        Settled(id, found[id].status, found[id].reason) if id in found else Settled(id, "failed", "unknown_transfer")
        for id in transfer_ids
    ]


async def get(tx: ReadTx, transfer_id: int) -> Transfer:
    """The transfer with that id; refuses with `NotFound` (`unknown_transfer`)."""
    found = await store.by_ids(tx, [transfer_id])
    if transfer_id not in found:
        raise NotFound("unknown_transfer", f"there is no transfer {transfer_id}")
    return found[transfer_id]


async def of_journals(tx: ReadTx, journal_ids: Sequence[int]) -> list[Transfer]:
    """The transfers that some journals carried out, in the order of their ids."""
    return await store.of_journals(tx, journal_ids)


async def page(tx: ReadTx, *, account: str | None = None, before: int | None = None, limit: int = 50) -> list[Transfer]:
    """A page of transfers below the id `before`, newest first; those of one account where it is named."""
    account_id = (await ledger.account(tx, account)).id if account is not None else None
    return await store.page(tx, account_id=account_id, before=before or _NEWEST, limit=limit)


def _check(place: int, new: NewTransfer, accounts: Mapping[str, ledger.AccountRef]) -> _Checked:
    debit, credit = (accounts.get(name) for name in (new.from_account, new.to_account))
    if debit is None:
        raise NotFound("unknown_account", f"there is no account {new.from_account}")
    if credit is None:
        raise NotFound("unknown_account", f"there is no account {new.to_account}")
    if debit.id == credit.id:
        raise Invalid("same_account", "a transfer goes from one account to another")
    if debit.asset != credit.asset:
        raise Invalid("currency_mismatch", f"{debit.name} holds {debit.asset} and {credit.name} holds {credit.asset}")
    if new.currency is not None and new.currency != debit.asset:
        raise Invalid("currency_mismatch", f"the amount is in {new.currency} and the accounts hold {debit.asset}")
    if new.description is not None:
        check_text(new.description, "the description", 500)
    return _Checked(place, new, debit, credit, parse_minor(new.amount, debit.unit))


async def _carry_out(tx: Tx, principal: str, items: Sequence[_Checked], task_id: int | None) -> Answers:
    answers: Answers = {}
    replays: dict[int, int] = {}
    proposed = await store.propose_now(tx, principal, [item.row() for item in items], task_id=task_id)
    for item, made in zip(items, proposed, strict=True):
        if made.state == "reused":
            answers[item.place] = key_reused()
        elif made.state == "replay":
            replays[item.place] = made.transfer_id
        else:
            assert made.stored_at is not None
            answers[item.place] = _made(principal, item, made.transfer_id, made.stored_at, proposed=made, task_id=task_id)
    return answers | await _first_answers(tx, replays)


async def _queue(tx: Tx, principal: str, items: Sequence[_Checked]) -> Answers:
    answers: Answers = {}
    replays: dict[int, int] = {}
    fresh: list[tuple[_Checked, store.NewRow, int]] = []
    rows = [item.row() for item in items]
    claims = await store.take_keys(tx, principal, [row.key for row in rows], [row.hash for row in rows])
    for item, row, claimed in zip(items, rows, claims, strict=True):
        if claimed.state == "reused":
            answers[item.place] = key_reused()
        elif claimed.state == "replay":
            replays[item.place] = claimed.ref_id
        else:
            fresh.append((item, row, claimed.ref_id))
    if fresh:
        tasks = [work.NewTask(SETTLEMENT_AGENT, SETTLE_TASK, {"transfer_id": id}) for _, _, id in fresh]
        task_ids = await work.enqueue(tx, principal, tasks)
        ids = [id for _, _, id in fresh]
        stored_at = await store.insert_queued(tx, principal, [row for _, row, _ in fresh], ids=ids, task_ids=task_ids)
        await audit.append(
            tx,
            principal=principal,
            verb="transfers.propose",
            subject_kind="transfer",
            subject_id=ids[0],
            detail={"transfers": [[id, "queued"] for id in ids]},
        )
        for (item, _, id), task_id in zip(fresh, task_ids, strict=True):
            answers[item.place] = _made(principal, item, id, stored_at, task_id=task_id)
    return answers | await _first_answers(tx, replays)


async def _first_answers(tx: Tx, replays: Mapping[int, int]) -> Answers:
    if not replays:
        return {}
    found = await store.by_ids(tx, sorted(set(replays.values())))
    return {place: found[transfer_id].as_first_answered() for place, transfer_id in replays.items()}


def _made(
    principal: str,
    item: _Checked,
    transfer_id: int,
    stored_at: datetime,
    *,
    proposed: store.Proposed | None = None,
    task_id: int | None = None,
) -> Transfer:
    reason = proposed.reason if proposed else None
    return Transfer(
        id=transfer_id,
        principal=principal,
        from_account=item.debit.name,
        to_account=item.credit.name,
        amount=item.amount,
        asset=item.debit.asset,
        scale=item.debit.scale,
        description=item.new.description,
        settle=item.new.settle,
        status="queued" if proposed is None else "failed" if reason else "posted",
        reason=reason,
        journal_id=proposed.journal_id if proposed else None,
        task_id=task_id,
        created_at=stored_at,
        settled_at=stored_at if proposed else None,
    )
