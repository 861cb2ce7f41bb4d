"""Queued transfers, posted by the settlement agent for those who may still act."""

from __future__ import annotations

from collections.abc import Sequence

from tallystick import audit, identity, ledger
from tallystick.actions import registry, store, transfers
from tallystick.actions.makers import AUTHORITY_GONE
from tallystick.actions.model import SETTLEMENT_AGENT, Settled
from tallystick.db import ReadTx, Tx


async def settle(tx: Tx, transfer_ids: Sequence[int]) -> list[Settled]:
    """Post queued transfers into the ledger, in id order; one that cannot be posted ends `failed`. Each is settled once.

    One whose proposer may not make it any more fails with `authority_gone`; policy has had its say when it was proposed.
    Transfers that are not queued any more are answered with what became of them.
    """
    queued = await store.lock_queued(tx, transfer_ids)
    if queued:
        await _settle(tx, queued)
    found = await store.by_ids(tx, transfer_ids)
    return [
        Settled(id, found[id].status, found[id].reason) if id in found else Settled(id, "failed", "unknown_transfer")
        for id in transfer_ids
    ]


async def _settle(tx: Tx, queued: Sequence[store.Queued]) -> None:
    gone = await _gone(tx, queued)
    going = [row for row in queued if row.id not in gone]
    journals = [
        ledger.Journal(
            kind=transfers.TYPE,
            entries=ledger.transfer(debit=row.from_account, credit=row.to_account, amount=row.amount),
            actor=SETTLEMENT_AGENT,
            on_behalf_of=row.principal,
            ref_id=row.id,
            task_id=row.task_id,
        )
        for row in going
    ]
    decisions = [row.decision_id for row in going if row.decision_id is not None]
    answers = await ledger.post(tx, journals, decisions=decisions if len(decisions) == len(going) else None) if going else []
    became = {row.id: (answer.journal_id, answer.refusal) for row, answer in zip(going, answers, strict=True)}
    became |= dict.fromkeys(gone, (None, AUTHORITY_GONE))
    reasons = [became[row.id][1] for row in queued]
    await store.settle(
        tx,
        ids=[row.id for row in queued],
        statuses=["failed" if reason else "posted" for reason in reasons],
        journal_ids=[became[row.id][0] for row in queued],
        reasons=reasons,
    )
    paid = [row for row, reason in zip(queued, reasons, strict=True) if reason is None]
    await store.know_payees(tx, [row.from_account for row in paid], [row.to_account for row in paid], by=SETTLEMENT_AGENT)
    detail = {"transfers": [row.id for row in queued], "failed": sum(1 for reason in reasons if reason)}
    await audit.append(
        tx,
        principal=SETTLEMENT_AGENT,
        verb="transfers.settle",
        subject_kind="transfer",
        subject_id=queued[0].id,
        detail=detail | ({"gone": sorted(gone)} if gone else {}),
    )


async def _gone(tx: ReadTx, queued: Sequence[store.Queued]) -> set[int]:
    """Those whose proposer may not make them any more: disabled, without the role or the account, or the mandate is over."""
    now = await identity.as_of_now(tx, {row.maker for row in queued})
    roles = registry.named(transfers.TYPE).roles
    gone: set[int] = set()
    for row in queued:
        # A part of the house is always there.
        if row.maker in now:
            by = now[row.maker]
            if by is None or roles.isdisjoint(by.roles) or (by.accounts is not None and row.account not in by.accounts):
                gone.add(row.id)
    return gone
