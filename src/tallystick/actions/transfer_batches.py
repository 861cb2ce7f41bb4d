"""Batches of transfers as one action: one question with the total and the payees, carried out whole or not at all.

Each transfer of a batch is decided as a transfer, too, so that nothing passes in a batch that would not pass by itself, and
windows count the transfers.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from tallystick import audit, ledger
from tallystick.actions import batched, gate, held, registry, store, transfers
from tallystick.actions.model import Asked, Denied, Held, NewTransfer, Transfer
from tallystick.db import Key, ReadTx, Tx, claim_one, claimed
from tallystick.identity import Principal
from tallystick.kit import Invalid, TallystickError, digest, plain

TYPE = "transfer.batch"
MAX_TRANSFERS = 1000
"""How many transfers one call may have."""

_TOLD = 200


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One transfer of a batch: `amount` is a decimal in `currency`."""

    from_account: str
    to_account: str
    amount: str
    currency: str
    description: str | None = None


@dataclass(frozen=True, slots=True)
class TransferBatch:
    """Transfers that are carried out together or not at all."""

    transfers: tuple[BatchItem, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that was let pass: all its transfers are `posted`, or all of them `failed`, each with its reason."""

    action_id: int
    transfers: tuple[Transfer, ...]


async def propose_batch(tx: Tx, by: Principal, new: Sequence[NewTransfer], *, key: str) -> Batch | Held | Denied:
    """Have transfers decided as one action, and carry them out together where policy allows it; see `TransferBatch`.

    All are settled at once. What the books refuse leaves every transfer of the batch `failed`: the one with its reason, the
    others with `batch_refused`. Refuses with `Invalid` (`batch_too_large`, `settle_now`, `key_reused`), and as `propose`
    answers, with the number of the transfer in the batch, from 0. Asked again under the key, the answer is the first one.
    """
    _check_size(new)
    payload = TransferBatch(tuple(_item(one.payload) for one in await _checked(tx, by, new)))
    wanted = Key(by.name, key, digest([TYPE, registry.of(payload).write(payload)]))
    entered = await gate.enter(tx, by, payload, key=key)
    if not isinstance(entered, gate.Passed):
        return entered
    if entered.replay:
        action_id = await claimed(tx, wanted, kind=TYPE)
        assert action_id is not None, "the gate has seen the key"
        return Batch(action_id, tuple(await batched.of_batch(tx, action_id)))
    assert entered.decision_id is not None, "what passes anew was decided"
    action_id = await held.insert_action(
        tx,
        type=TYPE,
        by=by,
        payload=registry.of(payload).write(payload),
        digest=wanted.hash,
        decision_id=entered.decision_id,
        task_id=None,
    )
    await claim_one(tx, wanted, kind=TYPE, ref_id=action_id)
    batch = await _resume(tx, by, payload, action_id)
    reason = _refusal(batch)
    status = "executed" if reason is None else "failed"
    await held.end(tx, action_id, status, reason=reason, result=_told(batch), executed_by=entered.decision_id)
    if reason is not None:
        await audit.append(
            tx, principal=by.name, on_behalf_of=by.on_behalf_of, verb="actions.end", subject_kind="action",
            subject_id=action_id, detail={"type": TYPE, "reason": reason},
        )  # fmt: skip
    return batch


async def propose_each(
    tx: Tx, by: Principal, new: Sequence[NewTransfer], *, key: str, directory: ledger.Directory | None = None
) -> list[Transfer]:
    """Have transfers decided and carried out each by itself, as so many calls of `propose` would, in one transaction.

    One that cannot be read refuses the call, with its number. Asked again under the key, the answers are the first ones;
    refuses with `Invalid` (`key_reused`) the key of another batch.
    """
    _check_size(new)
    said = [[one.from_account, one.to_account, plain(one.amount), one.currency, one.settle, one.description] for one in new]
    # A batch of single transfers is no row of its own; its number only tells this claim from every other one.
    wanted = Key(by.name, key, digest(["transfers", said]))
    await claim_one(tx, wanted, kind="transfers", ref_id=secrets.randbits(62))
    stem = sha256(key.encode()).hexdigest()
    # No caller can send such a key, as it holds a space.
    keyed = [replace(one, key=f"transfers {stem} {place}") for place, one in enumerate(new)]
    answers = await transfers.propose(tx, by, keyed, directory=directory)
    for place, answer in enumerate(answers):
        if isinstance(answer, TallystickError):
            raise answer.of_number(place)
    return [answer for answer in answers if isinstance(answer, Transfer)]


async def _checked(tx: ReadTx, by: Principal, new: Sequence[NewTransfer]) -> list[transfers.Checked]:
    accounts = await ledger.references(tx, {name for one in new for name in (one.from_account, one.to_account)})
    checked = []
    for place, one in enumerate(new):
        if one.settle != "now":
            raise Invalid("settle_now", "what is carried out together is settled at once").of_number(place)
        try:
            checked.append(transfers.check(place, one, accounts, by))
        except TallystickError as refusal:
            raise refusal.of_number(place) from None
    return checked


def _check_size(new: Sequence[NewTransfer]) -> None:
    if not 1 <= len(new) <= MAX_TRANSFERS:
        raise Invalid("batch_too_large", f"a batch holds 1 to {MAX_TRANSFERS} transfers")


def _item(payload: Mapping[str, Any]) -> BatchItem:
    return BatchItem(**{name: value for name, value in payload.items() if name != "settle"})


async def _read(tx: ReadTx, payload: TransferBatch) -> list[transfers.Checked]:
    """The transfers of a payload, whoever proposed it."""
    new = [
        NewTransfer(one.from_account, one.to_account, one.amount, one.currency, "now", one.description)
        for one in payload.transfers
    ]
    return await _checked(tx, Principal("", "service"), new)


async def _facts(tx: ReadTx, payload: TransferBatch) -> Mapping[str, Any]:
    items = await _read(tx, payload)
    around = await batched.around(tx, [_move(item) for item in items])
    each = [_facts_of_one(item, known) for item, known in zip(items, around, strict=True)]
    totals: dict[str, int] = defaultdict(int)
    largest: dict[str, int] = defaultdict(int)
    for item in items:
        totals[item.debit.asset] += item.amount
        largest[item.debit.asset] = max(largest[item.debit.asset], item.amount)
    known_s = [facts["payee_known_s"] for facts in each]
    facts: dict[str, Any] = {
        "accounts": sorted({item.debit.name for item in items}),
        "count": len(items),
        "totals": dict(totals),
        "largest": dict(largest),
        "payees": sorted({item.credit.name for item in items}),
        "new_payees": len({(item.debit.id, item.credit.id) for item, s in zip(items, known_s, strict=True) if s is None}),
        "payee_known_s": None if None in known_s else min(known_s),
        "settle": "now",
    }
    # What differs from one transfer to the next the whole is known not to have; the parts say it.
    for name in ("account", "account_kind", "counterparty", "counterparty_kind"):
        facts[name] = _same([one[name] for one in each])
    customer = _same([one.get("customer") for one in each])
    if customer is not None:
        facts["customer"] = customer
    if len(totals) == 1:
        unit = items[0].debit.unit
        facts |= {"amount": totals[unit.code], "asset": unit.code, "scale": unit.scale}
    return facts


def _facts_of_one(item: transfers.Checked, around: store.PayeeFacts) -> dict[str, Any]:
    """What policy sees of one transfer: what it sees of a single one."""
    facts = transfers.facts_of(item.debit, item.credit, item.amount, item.new.settle)
    facts["payee_known_s"] = around.known_s
    if around.customer is not None:
        facts["customer"] = str(around.customer)
    return facts


def _same(values: Sequence[Any]) -> Any:
    return values[0] if all(value == values[0] for value in values) else None


async def _parts(tx: Tx, payload: TransferBatch) -> list[Asked]:
    """Each transfer as an action, under the locks under which single ones are decided."""
    items = await _read(tx, payload)
    around = await batched.around(tx, [_move(item) for item in items])
    return [Asked(transfers.TYPE, one.digest, _facts_of_one(one, known)) for one, known in zip(items, around, strict=True)]


async def _locks(_: ReadTx, payload: TransferBatch) -> Iterable[str]:
    return {name for one in payload.transfers for name in (one.from_account, one.to_account)}


async def _resume(tx: Tx, by: Principal, payload: TransferBatch, action_id: int) -> Batch:
    """Post all transfers of a batch that was let pass, or none; what the books refuse is how it ends."""
    assert tx.decision is not None, "what is carried out was let pass"
    moves = [_move(item) for item in await _read(tx, payload)]
    ids = await batched.next_ids(tx, len(moves))
    journals = [
        ledger.Journal(
            kind=transfers.TYPE,
            entries=ledger.transfer(debit=move.from_account, credit=move.to_account, amount=move.amount),
            actor=by.name,
            on_behalf_of=by.on_behalf_of,
            ref_id=id,
            approval_id=tx.approval,
        )
        for id, move in zip(ids, moves, strict=True)
    ]
    posted = await ledger.post(tx, journals, mode="atomic")
    await batched.insert(
        tx,
        by.name,
        moves,
        ids=ids,
        journals=[one.journal_id for one in posted],
        reasons=[one.refusal for one in posted],
        decision_id=tx.decision,
        action_id=action_id,
    )
    refused = any(one.refusal is not None for one in posted)
    if not refused:
        await store.know_payees(tx, [one.from_account for one in moves], [one.to_account for one in moves], by=by.name)
    told = [[str(id), one.refusal or "posted"] for id, one in zip(ids, posted, strict=True)]
    await audit.append(
        tx,
        principal=by.name,
        on_behalf_of=by.on_behalf_of,
        verb="transfers.batch",
        subject_kind="action",
        subject_id=action_id,
        detail={"transfers": told[:_TOLD], "count": len(ids)},
        payload=None if len(told) <= _TOLD else {"transfers": told},
        decision_id=tx.decision,
        approval_id=tx.approval,
    )
    return Batch(action_id, tuple(await batched.of_batch(tx, action_id)))


def _move(item: transfers.Checked) -> batched.Move:
    row = item.row
    return batched.Move(row.from_account, row.to_account, row.amount, row.asset, row.description)


def _refusal(batch: Batch) -> str | None:
    """Why the books refused a batch: the reason of the first transfer for which they did."""
    return next((one.reason for one in batch.transfers if one.reason not in (None, "batch_refused")), None)


def _told(batch: Batch) -> dict[str, Any]:
    """What came of a batch."""
    reason = _refusal(batch)
    return {"transfers": len(batch.transfers), "status": "posted" if reason is None else "failed", "reason": reason}


registry.register(
    registry.ActionType(
        TYPE,
        TransferBatch,
        _facts,
        None,
        _told,
        proposable=False,
        resume=_resume,
        parts=_parts,
        locks=_locks,
        refused=_refusal,
    )
)
