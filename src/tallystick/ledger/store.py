"""One function a query of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, TypeVar

from tallystick.db import Queries, ReadTx, Tx, bigints, byteas, integers, sparse, texts
from tallystick.kit import Asset, digest, dumps
from tallystick.ledger.model import (
    Account,
    AccountChange,
    AccountRef,
    AccountSpec,
    Entry,
    Hold,
    HoldChange,
    Journal,
    LockedBalance,
    NewHold,
    OpenedAccount,
    Original,
    Placed,
    Posted,
    Release,
    Released,
    Reversed,
    TrialBalance,
)

Thing = TypeVar("Thing", Journal, NewHold)

_queries = Queries(__package__)
_POST = _queries.bind("post", Posted)
_PLACE_HOLDS = _queries.bind("place_holds", Placed)
_RELEASE_HOLDS = _queries.bind("release_holds", Released)
_EXPIRE_HOLDS = _queries.bind("expire_holds", int)
_HOLDS = _queries.bind("holds", Hold)
_HOLD_CHANGES = _queries.bind("hold_changes", HoldChange)
_ORIGINALS = _queries.bind("originals", Original)
_REVERSALS = _queries.bind("reversals", Reversed)
_OPEN_ACCOUNTS = _queries.bind("open_accounts", OpenedAccount)
_CHANGE_ACCOUNTS = _queries.bind("change_accounts", int)
_ACCOUNT_CHANGES = _queries.bind("account_changes", AccountChange)
_LOCK = _queries.bind("lock", LockedBalance)
_CLOSE_PERIOD = _queries.bind("close_period", datetime)
_CLOSED_UNTIL = _queries.bind("closed_until", datetime)
_ACCOUNTS_BY_NAME = _queries.bind("accounts_by_name", Account)
_REFERENCES_BY_NAME = _queries.bind("references_by_name", AccountRef)
_ACCOUNTS_AFTER = _queries.bind("accounts_after", Account)
_ENTRIES_BEFORE = _queries.bind("entries_before", Entry)
_ENTRIES_AFTER = _queries.bind("entries_after", Entry)
_ASSETS = _queries.bind("assets", Asset)
_TRIAL_BALANCE = _queries.bind("trial_balance", TrialBalance)


async def post(tx: Tx, journals: Sequence[Journal], *, atomic: bool, decisions: Sequence[int] | None = None) -> list[Posted]:
    allowed = [tx.decision] if decisions is None and tx.decision is not None else decisions
    entries = [(place, account, amount) for place, journal in enumerate(journals, 1) for account, amount in journal.entries]
    guards = [(place, guard) for place, journal in enumerate(journals, 1) for guard in journal.guards]
    return await tx.all(
        _POST,
        {
            **_common(journals, journal_hash),
            "effective_at": sparse([journal.effective_at for journal in journals]),
            "reverses": sparse([journal.reverses for journal in journals]),
            "hold_ids": sparse([journal.hold_id for journal in journals]),
            "finals": sparse([journal.final or None for journal in journals]),
            "entry_journals": integers([place for place, _, _ in entries]),
            "entry_accounts": bigints([account for _, account, _ in entries]),
            "entry_amounts": bigints([amount for _, _, amount in entries]),
            "guard_journals": [place for place, _ in guards] or None,
            "guard_accounts": [guard.account_id for _, guard in guards] or None,
            "guard_available": [guard.available for _, guard in guards] or None,
            "guard_seqs": [guard.seq for _, guard in guards] or None,
            "atomic": atomic,
            "decisions": None if allowed is None else bigints(allowed),
        },
    )


def journal_hash(journal: Journal) -> bytes:
    facts: list[Any] = [
        journal.kind,
        journal.ref_id,
        [list(entry) for entry in journal.entries],
        journal.on_behalf_of,
        journal.task_id,
        journal.approval_id,
        journal.effective_at,
        dict(journal.meta),
        journal.reverses,
        journal.hold_id,
        journal.final,
        [[guard.account_id, guard.available, guard.seq] for guard in journal.guards],
    ]
    return digest(facts)


async def place_holds(tx: Tx, holds: Sequence[NewHold], *, atomic: bool) -> list[Placed]:
    return await tx.all(
        _PLACE_HOLDS,
        {
            **_common(holds, hold_hash),
            "accounts": [hold.account_id for hold in holds],
            "amounts": [hold.amount for hold in holds],
            "expires_at": [hold.expires_at for hold in holds],
            "expires_in_s": [hold.expires_in_s for hold in holds],
            "atomic": atomic,
        },
    )


def hold_hash(hold: NewHold) -> bytes:
    facts: list[Any] = [
        hold.account_id,
        hold.amount,
        hold.kind,
        hold.ref_id,
        hold.on_behalf_of,
        hold.task_id,
        hold.approval_id,
        hold.expires_at,
        hold.expires_in_s,
        dict(hold.meta),
    ]
    return digest(facts)


def _common(things: Sequence[Thing], hash_of: Callable[[Thing], bytes]) -> dict[str, Any]:
    """The arrays that journals and holds have in common: where they come from, who asks for them, and of what kind they are."""
    keyed = any(thing.key is not None for thing in things)
    return {
        "keys": texts([thing.key for thing in things]) if keyed else None,
        "hashes": byteas([None if thing.key is None else hash_of(thing) for thing in things]) if keyed else None,
        "kinds": texts([thing.kind for thing in things]),
        "ref_ids": sparse([thing.ref_id for thing in things]),
        "actors": texts([thing.actor for thing in things]),
        "on_behalf_of": sparse([thing.on_behalf_of for thing in things]),
        "task_ids": sparse([thing.task_id for thing in things]),
        "approval_ids": sparse([thing.approval_id for thing in things]),
        "metas": sparse([dumps(thing.meta).decode() if thing.meta else None for thing in things]),
    }


async def release_holds(tx: Tx, releases: Sequence[Release], *, atomic: bool) -> list[Released]:
    return await tx.all(
        _RELEASE_HOLDS,
        {
            "keys": [release.key for release in releases],
            "hashes": [None if release.key is None else digest([release.hold_id]) for release in releases],
            "hold_ids": [release.hold_id for release in releases],
            "actors": [release.actor for release in releases],
            "atomic": atomic,
        },
    )


async def expire_holds(tx: Tx, *, limit: int) -> int:
    return await tx.single(_EXPIRE_HOLDS, {"limit": limit})


async def holds(
    tx: ReadTx,
    *,
    account_id: int | None,
    among: Sequence[int] | None,
    ids: Sequence[int] | None,
    open_only: bool,
    before: int,
    limit: int,
) -> list[Hold]:
    parameters = {
        "account_id": account_id,
        "among": None if among is None else list(among),
        "ids": None if ids is None else list(ids),
        "open_only": open_only,
        "before": before,
        "limit": limit,
    }
    return await tx.all(_HOLDS, parameters)


async def hold_changes(tx: ReadTx, hold_id: int, *, limit: int) -> list[HoldChange]:
    return await tx.all(_HOLD_CHANGES, {"hold_id": hold_id, "limit": limit})


async def originals(tx: ReadTx, journal_ids: Sequence[int]) -> list[Original]:
    return await tx.all(_ORIGINALS, {"journal_ids": list(journal_ids)})


async def reversals(tx: ReadTx, journal_ids: Sequence[int], *, most: int) -> list[Reversed]:
    return await tx.all(_REVERSALS, {"ids": list(journal_ids), "most": most})


async def open_accounts(tx: Tx, specs: Sequence[AccountSpec], *, actor: str) -> list[OpenedAccount]:
    return await tx.all(
        _OPEN_ACCOUNTS,
        {
            "names": [spec.name for spec in specs],
            "assets": [spec.asset for spec in specs],
            "kinds": [spec.kind for spec in specs],
            "floors": [spec.floor for spec in specs],
            "actor": actor,
        },
    )


async def set_statuses(tx: Tx, statuses: Sequence[tuple[int, str]], *, actor: str) -> list[int]:
    parameters = {
        "account_ids": [account for account, _ in statuses],
        "statuses": [status for _, status in statuses],
        "floors": None,
        "actor": actor,
    }
    return await tx.all(_CHANGE_ACCOUNTS, parameters)


async def set_floors(tx: Tx, floors: Sequence[tuple[int, int | None]], *, actor: str) -> list[int]:
    parameters = {
        "account_ids": [account for account, _ in floors],
        "statuses": None,
        "floors": [floor for _, floor in floors],
        "actor": actor,
    }
    return await tx.all(_CHANGE_ACCOUNTS, parameters)


async def account_changes(tx: ReadTx, account_id: int, *, before: int, limit: int) -> list[AccountChange]:
    return await tx.all(_ACCOUNT_CHANGES, {"account_id": account_id, "before": before, "limit": limit})


async def lock(tx: Tx, account_ids: Sequence[int]) -> list[LockedBalance]:
    return await tx.all(_LOCK, {"account_ids": list(account_ids)})


async def close_period(tx: Tx, until: datetime, *, actor: str) -> datetime | None:
    return await tx.one(_CLOSE_PERIOD, {"until": until, "actor": actor})


async def closed_until(tx: ReadTx) -> datetime | None:
    return await tx.one(_CLOSED_UNTIL)


async def accounts_by_name(tx: ReadTx, names: Sequence[str]) -> list[Account]:
    return await tx.all(_ACCOUNTS_BY_NAME, {"names": list(names)})


async def references_by_name(tx: ReadTx, names: Sequence[str]) -> list[AccountRef]:
    return await tx.all(_REFERENCES_BY_NAME, {"names": list(names)})


async def accounts_after(tx: ReadTx, *, after: int, limit: int, kind: str | None, ids: Sequence[int] | None) -> list[Account]:
    parameters = {"after": after, "limit": limit, "kind": kind, "ids": None if ids is None else list(ids)}
    return await tx.all(_ACCOUNTS_AFTER, parameters)


async def entries(tx: ReadTx, account_id: int, *, order: Literal["asc", "desc"], bound: int, limit: int) -> list[Entry]:
    query = _ENTRIES_AFTER if order == "asc" else _ENTRIES_BEFORE
    return await tx.all(query, {"account_id": account_id, "bound": bound, "limit": limit})


async def assets(tx: ReadTx) -> list[Asset]:
    return await tx.all(_ASSETS)


async def trial_balance(tx: ReadTx) -> list[TrialBalance]:
    # Sums over all accounts may be wider than 64 bits, and come as decimals.
    return [replace(row, dr=int(row.dr), cr=int(row.cr)) for row in await tx.all(_TRIAL_BALANCE)]
