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


@dataclass(frozen=True, slots=True)
class _Checked:
    """A transfer whose accounts exist and whose amount is exact, in minor units."""

    place: int
    new: NewTransfer
    debit: ledger.AccountRef
    credit: ledger.AccountRef
    amount: int

    def hash(self) -> bytes:
        new = self.new
        return digest([self.debit.id, self.credit.id, self.amount, self.debit.asset, new.settle, new.description])


async def propose(tx: Tx, principal: str, transfers: Sequence[NewTransfer]) -> list[Transfer | TallystickError]:
    """Carry transfers out, or store them for the settlement agent; one answer each, in order.

    A transfer that the business refuses (`insufficient_funds`, `account_closed`, `account_frozen`) is stored as `failed` with
    its reason; the money has not moved. An answer that is an error (`unknown_account`, `same_account`, `currency_mismatch`,
    `amount_…`, `key_reused`) stored nothing, and leaves its neighbours alone. A key twice in one batch counts as two calls.
    """
    accounts = await ledger.references(tx, (name for new in transfers for name in (new.from_account, new.to_account)))
    answers: dict[int, Transfer | TallystickError] = {}
    checked: list[_Checked] = []
    for place, new in enumerate(transfers):
        try:
            checked.append(_check(place, new, accounts))
        except TallystickError as refusal:
            answers[place] = refusal
    if checked:
        answers |= await _carry_out(tx, principal, checked)
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


async def _carry_out(tx: Tx, principal: str, checked: Sequence[_Checked]) -> dict[int, Transfer | TallystickError]:
    answers: dict[int, Transfer | TallystickError] = {}
    ids: dict[int, int] = {}
    replays: dict[int, int] = {}
    keys = [item.new.key for item in checked]
    claims = await store.take_keys(tx, principal, keys, [item.hash() if item.new.key is not None else None for item in checked])
    for item, claimed in zip(checked, claims, strict=True):
        if claimed.state == "reused":
            answers[item.place] = key_reused()
        elif claimed.state == "replay":
            replays[item.place] = claimed.ref_id
        else:
            ids[item.place] = claimed.ref_id
    fresh = [item for item in checked if item.place in ids]
    if fresh:
        answers |= await _execute(tx, principal, fresh, ids)
    if replays:
        found = await store.by_ids(tx, sorted(set(replays.values())))
        answers |= {place: found[transfer_id].as_first_answered() for place, transfer_id in replays.items()}
    return answers


async def _execute(
    tx: Tx, principal: str, fresh: Sequence[_Checked], ids: Mapping[int, int]
) -> dict[int, Transfer | TallystickError]:
    queued = [item for item in fresh if item.new.settle == "queued"]
    now = [item for item in fresh if item.new.settle == "now"]
    task_ids: dict[int, int] = {}
    if queued:
        tasks = [work.NewTask(SETTLEMENT_AGENT, SETTLE_TASK, {"transfer_id": ids[item.place]}) for item in queued]
        enqueued = await work.enqueue(tx, principal, tasks, recorded=False)
        task_ids = dict(zip((item.place for item in queued), enqueued, strict=True))
    journals = [
        ledger.Journal(
            kind="transfer",
            entries=ledger.transfer(debit=item.debit.id, credit=item.credit.id, amount=item.amount),
            actor=principal,
            ref_id=ids[item.place],
        )
        for item in now
    ]
    posted = dict(zip((item.place for item in now), await ledger.post(tx, journals), strict=True))
    rows = {item.place: _row(item, ids[item.place], posted.get(item.place), task_ids.get(item.place)) for item in fresh}
    stored_at = await store.insert(tx, principal, list(rows.values()))
    transfers = [_transfer(principal, item, rows[item.place], stored_at) for item in fresh]
    await audit.append(
        tx,
        principal=principal,
        verb="transfers.propose",
        subject_kind="transfer",
        subject_id=transfers[0].id,
        detail={"transfers": [[transfer.id, transfer.status] for transfer in transfers]},
    )
    return {item.place: transfer for item, transfer in zip(fresh, transfers, strict=True)}


def _row(item: _Checked, transfer_id: int, posted: ledger.Posted | None, task_id: int | None) -> store.NewRow:
    return store.NewRow(
        id=transfer_id,
        from_account=item.debit.id,
        to_account=item.credit.id,
        amount=item.amount,
        asset=item.debit.asset,
        description=item.new.description,
        settle=item.new.settle,
        task_id=task_id,
        status="queued" if posted is None else "failed" if posted.refusal else "posted",
        journal_id=posted.journal_id if posted else None,
        reason=posted.refusal if posted else None,
    )


def _transfer(principal: str, item: _Checked, row: store.NewRow, stored_at: datetime) -> Transfer:
    return Transfer(
        id=row.id,
        principal=principal,
        from_account=item.debit.name,
        to_account=item.credit.name,
        amount=row.amount,
        asset=row.asset,
        scale=item.debit.scale,
        description=row.description,
        settle=row.settle,
        status=row.status,
        reason=row.reason,
        journal_id=row.journal_id,
        task_id=row.task_id,
        created_at=stored_at,
        settled_at=None if row.status == "queued" else stored_at,
    )
