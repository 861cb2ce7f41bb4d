"""One function a query of the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple

from tallystick import policy
from tallystick.actions.model import Payee, Transfer, reasons_of
from tallystick.audit import current_request
from tallystick.db import Queries, ReadTx, Tx, bigints, byteas, sparse, texts
from tallystick.identity import Maker


@dataclass(frozen=True, slots=True)
class Unposted:
    """What posting a stored transfer needs; accounts are ledger ids, the amount is in minor units."""

    id: int
    principal: str
    from_account: int
    to_account: int
    amount: int
    task_id: int | None
    decision_id: int | None


@dataclass(frozen=True, slots=True)
class Queued(Unposted):
    """The same of a queued one, with the name of the account that pays, and in which version and under which mandate it was
    proposed.
    """

    account: str
    version: str | None
    mandate_id: int | None

    @property
    def maker(self) -> Maker:
        return self.principal, self.version, self.mandate_id


class NewRow(NamedTuple):
    """A transfer about to be made, accounts as ledger ids, with its key and the hash of the request under it."""

    key: str | None
    hash: bytes
    from_account: int
    to_account: int
    amount: int
    asset: str
    description: str | None


@dataclass(frozen=True, slots=True)
class PayeeFacts:
    """Who owns an account that pays, and for how many whole seconds it has known the other one; `None` where that is new."""

    customer: int | None
    known_s: int | None


@dataclass(frozen=True, slots=True)
class KnownPayee:
    """Who owns an account, and since when it knows a payee, by which name; `at` is now."""

    customer: int | None
    known_since: datetime | None
    label: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared(policy.Gathered):
    """What is known of transfers before they are decided, one element each; `states` as in `Claimed`.

    What was gathered for the rules is there where it was asked for with them.
    """

    states: list[str]
    transfer_ids: list[int]
    customers: list[int | None]
    known_s: list[int | None]


@dataclass(frozen=True, slots=True)
class Concluded:
    """What became of transfers that were decided: the journal of each, or why there is none, and its decision."""

    journal_ids: list[int | None]
    reasons: list[str | None]
    decisions: list[int]
    stored_at: datetime


@dataclass(frozen=True, slots=True)
class Stored:
    """A transfer as it is stored, with what policy said of it where it did not let it pass."""

    id: int
    principal: str
    from_account: str
    to_account: str
    amount: int
    asset: str
    scale: int
    description: str | None
    settle: str
    status: str
    reason: str | None
    journal_id: int | None
    task_id: int | None
    created_at: datetime
    settled_at: datetime | None
    decision_id: int | None
    approval_id: int | None
    verdict: str | None

    def transfer(self) -> Transfer:
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "verdict"}
        return Transfer(**values, reasons=() if self.verdict is None else reasons_of(self.verdict))


_NOTHING_WANTED = dict.fromkeys(("counters", "windows", "lists", "names", "ids", "known"))
_KEPT_BEFORE = dict.fromkeys(("policy", "digests", "facts", "verdicts", "salts", "counters", "counts", "sums"))

_queries = Queries(__package__)
_PREPARE = _queries.bind("prepare", Prepared)
_CONCLUDE = _queries.bind("conclude", Concluded)
_INSERT_UNSETTLED = _queries.bind("insert_unsettled", datetime)
_KNOW_PAYEE = _queries.command("know_payee")
_PAYEE_OF = _queries.bind("payee_of", KnownPayee)
_PAYEES = _queries.bind("payees", Payee)
_KNOW_PAYEES = _queries.command("know_payees")
_OF_ACTION = _queries.bind("of_action", Unposted)
_END_HELD = _queries.command("end_held")
_PAYEE_FACTS = _queries.bind("payee_facts", PayeeFacts)
_INSERT_QUEUED = _queries.bind("insert_queued", datetime)
_BY_IDS = _queries.bind("by_ids", Stored)
_OF_JOURNALS = _queries.bind("of_journals", Stored)
_PAGE = _queries.bind("page", Stored)
_PAGE_OF_ACCOUNT = _queries.bind("page_of_account", Stored)
_LOCK_QUEUED = _queries.bind("lock_queued", Queued)
_SETTLE = _queries.command("settle")


async def prepare(
    tx: Tx, principal: str, rows: Sequence[NewRow], payees: Sequence[str], wanted: policy.Wanted | None
) -> Prepared:
    return await tx.single(
        _PREPARE,
        {
            "principal": principal,
            "keys": texts([row.key for row in rows]),
            "hashes": byteas([row.hash for row in rows]),
            "from_accounts": bigints([row.from_account for row in rows]),
            "to_accounts": bigints([row.to_account for row in rows]),
            "payees": texts(payees),
            **(_NOTHING_WANTED if wanted is None else wanted.parameters()),
        },
    )


async def conclude(
    tx: Tx,
    principal: str,
    rows: Sequence[NewRow],
    *,
    on_behalf_of: str | None,
    task_id: int | None,
    ids: Sequence[int],
    outcomes: Sequence[str],
    decisions: Sequence[int] | Mapping[str, Any],
    fresh: Sequence[bool],
    decided: str,
) -> Concluded:
    """Carry transfers out under decisions that are kept (their ids), or that are kept with it (see `policy.kept_with`)."""
    kept = decisions if isinstance(decisions, Mapping) else _KEPT_BEFORE
    return await tx.single(
        _CONCLUDE,
        {
            "principal": principal,
            "on_behalf_of": on_behalf_of,
            "task_id": task_id,
            "request": current_request(),
            "ids": bigints(ids),
            "outcomes": texts(outcomes),
            "decided": decided,
            "decisions": None if isinstance(decisions, Mapping) else bigints(decisions),
            "fresh": list(fresh) if any(fresh) else None,
            "from_accounts": bigints([row.from_account for row in rows]),
            "to_accounts": bigints([row.to_account for row in rows]),
            "amounts": bigints([row.amount for row in rows]),
            "assets": texts([row.asset for row in rows]),
            "descriptions": sparse([row.description for row in rows]),
            **kept,
        },
    )


async def insert_unsettled(
    tx: Tx,
    principal: str,
    row: NewRow,
    *,
    id: int,
    settle: str,
    task_id: int | None,
    status: str,
    reason: str | None,
    decision_id: int,
    action_id: int | None,
) -> datetime:
    return await tx.single(
        _INSERT_UNSETTLED,
        {
            "id": id,
            "principal": principal,
            "from_account": row.from_account,
            "to_account": row.to_account,
            "amount": row.amount,
            "asset": row.asset,
            "description": row.description,
            "settle": settle,
            "task_id": task_id,
            "status": status,
            "reason": reason,
            "decision_id": decision_id,
            "action_id": action_id,
        },
    )


async def know_payees(tx: Tx, accounts: Sequence[int], payees: Sequence[int], *, by: str) -> None:
    """Note that accounts have paid others; each pair that is known already stays as it is."""
    if accounts:
        await tx.run(_KNOW_PAYEES, {"accounts": list(accounts), "payees": list(payees), "principal": by})


async def know_payee(tx: Tx, account_id: int, payee: str, *, label: str | None, by: str) -> None:
    await tx.run(_KNOW_PAYEE, {"account_id": account_id, "payee": payee, "label": label, "principal": by})


async def payees(tx: ReadTx, account_id: int, *, after: str, limit: int) -> list[Payee]:
    return await tx.all(_PAYEES, {"account_id": account_id, "after": after, "limit": limit})


async def payee_of(tx: ReadTx, account_id: int, payee: str) -> KnownPayee:
    return await tx.single(_PAYEE_OF, {"account_id": account_id, "payee": payee})


async def of_action(tx: Tx, action_id: int) -> Unposted | None:
    return await tx.one(_OF_ACTION, {"action_id": action_id})


async def end_held(tx: Tx, id: int, status: str, *, journal_id: int | None, reason: str | None) -> None:
    await tx.run(_END_HELD, {"id": id, "status": status, "journal_id": journal_id, "reason": reason})


async def payee_facts(tx: ReadTx, from_account: int, to_account: int) -> PayeeFacts:
    return await tx.single(_PAYEE_FACTS, {"from_account": from_account, "to_account": to_account})


async def insert_queued(
    tx: Tx, principal: str, rows: Sequence[NewRow], *, ids: Sequence[int], task_ids: Sequence[int], decisions: Sequence[int]
) -> datetime:
    return await tx.single(
        _INSERT_QUEUED,
        {
            "principal": principal,
            "ids": bigints(ids),
            "from_accounts": bigints([row.from_account for row in rows]),
            "to_accounts": bigints([row.to_account for row in rows]),
            "amounts": bigints([row.amount for row in rows]),
            "assets": texts([row.asset for row in rows]),
            "descriptions": sparse([row.description for row in rows]),
            "task_ids": bigints(task_ids),
            "decisions": bigints(decisions),
        },
    )


async def by_ids(tx: ReadTx, ids: Sequence[int]) -> dict[int, Transfer]:
    return {stored.id: stored.transfer() for stored in await tx.all(_BY_IDS, {"ids": list(ids)})}


async def of_journals(tx: ReadTx, journal_ids: Sequence[int]) -> list[Transfer]:
    return [stored.transfer() for stored in await tx.all(_OF_JOURNALS, {"journals": list(journal_ids)})]


async def page(tx: ReadTx, *, account_id: int | None, among: Sequence[int] | None, before: int, limit: int) -> list[Transfer]:
    if account_id is None:
        found = await tx.all(_PAGE, {"among": None if among is None else list(among), "before": before, "limit": limit})
    else:
        found = await tx.all(_PAGE_OF_ACCOUNT, {"account_id": account_id, "before": before, "limit": limit})
    return [stored.transfer() for stored in found]


async def lock_queued(tx: Tx, ids: Sequence[int]) -> list[Queued]:
    return await tx.all(_LOCK_QUEUED, {"ids": list(ids)})


async def settle(
    tx: Tx, *, ids: Sequence[int], statuses: Sequence[str], journal_ids: Sequence[int | None], reasons: Sequence[str | None]
) -> int:
    return await tx.run(
        _SETTLE,
        {"ids": list(ids), "statuses": list(statuses), "journal_ids": list(journal_ids), "reasons": list(reasons)},
    )
