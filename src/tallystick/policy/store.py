"""One function a query of the policy room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tallystick.db import Queries, ReadTx, Tx, bigints, byteas, sparse, texts
from tallystick.policy.model import Applied, CounterKey, Decision, ListEntry, ListInfo, Lookup, NewDecision, salts
from tallystick.policy.normal import id_form, name_form


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the database knows that rules ask for; `body` is the policy in force, where its digest was not the known one."""

    at: datetime
    digest: str | None
    body: str | None
    ids: list[int]
    counts: list[int]
    sums: list[int]
    places: list[int]
    entries: list[str]
    unlisted: list[str]


@dataclass(frozen=True, slots=True)
class InForce:
    """The policy in force, and its text where its digest was not the known one."""

    digest: str
    body: str | None


_queries = Queries(__package__)
_GATHER = _queries.bind("gather", Gathered)
_KEEP = _queries.bind("keep", list[int])
_RESERVE = _queries.command("reserve")
_CONSUME = _queries.command("consume")
_IN_FORCE = _queries.bind("in_force", InForce)
_BODY = _queries.bind("body", str)
_APPLY = _queries.bind("apply", Applied)
_APPLIED = _queries.bind("applied", Applied)
_APPLIED_LAST = _queries.bind("applied_last", Applied)
_IN_FORCE_SINCE = _queries.bind("in_force_since", Applied)
_COMING = _queries.bind("coming", Applied)
_DECISION = _queries.bind("decision", Decision)
_DECISIONS = _queries.bind("decisions", Decision)
_DECISIONS_ONWARD = _queries.bind("decisions_onward", Decision)
_FIRST_DECISION = _queries.bind("first_decision", int)
_COUNT_DECISIONS = _queries.bind("count_decisions", int)
_NEXT_VERSION = _queries.bind("next_version", int)
_PUBLISH = _queries.bind("publish", ListInfo)
_LISTS = _queries.bind("lists", ListInfo)
_FIND_ENTRIES = _queries.bind("find_entries", ListEntry)
_SOME_ENTRIES = _queries.bind("some_entries", ListEntry)


def wanted(keys: Sequence[CounterKey], lookups: Sequence[Lookup], known: str) -> dict[str, Any]:
    """The parameters of `gather`, which functions of other rooms pass on to it."""
    return {
        "counters": texts([key.key for key in keys]),
        "windows": bigints([key.window_s for key in keys]),
        "lists": texts([lookup.list for lookup in lookups]),
        "names": texts([name_form(lookup.value) for lookup in lookups]),
        "ids": texts([id_form(lookup.value) for lookup in lookups]),
        "known": known,
    }


async def gather(tx: Tx, wanted: Mapping[str, Any]) -> Gathered:
    return await tx.single(_GATHER, wanted)


async def keep(tx: Tx, decisions: Sequence[NewDecision], reserved: Sequence[tuple[int, int, int]]) -> list[int]:
    return await tx.single(
        _KEEP,
        {
            "principals": texts([one.principal for one in decisions]),
            "on_behalf_of": texts([one.on_behalf_of for one in decisions]),
            "actions": texts([one.action for one in decisions]),
            "digests": byteas([one.digest for one in decisions]),
            "policies": texts([one.policy for one in decisions]),
            "facts": texts([one.facts for one in decisions]),
            "verdicts": texts([one.verdict for one in decisions]),
            "outcomes": texts([one.outcome for one in decisions]),
            "task_ids": sparse([one.task_id for one in decisions]),
            "approval_ids": sparse([one.approval_id for one in decisions]),
            "salts": byteas([one.salt or salt for one, salt in zip(decisions, salts(len(decisions)), strict=True)]),
            **_reserved(reserved),
        },
    )


def kept(decisions: Sequence[NewDecision], reserved: Sequence[tuple[int, int, int]]) -> dict[str, Any]:
    """The parameters of `keep` that differ among decisions of one principal under one policy, for functions of other rooms."""
    return {
        "policy": decisions[0].policy,
        "digests": byteas([one.digest for one in decisions]),
        "facts": texts([one.facts for one in decisions]),
        "verdicts": texts([one.verdict for one in decisions]),
        "salts": byteas([one.salt for one in decisions]),
        **_reserved(reserved),
    }


async def reserve(tx: Tx, reserved: Sequence[tuple[int, int, int]]) -> None:
    await tx.run(_RESERVE, _reserved(reserved))


async def consume(tx: Tx, ids: Sequence[int]) -> None:
    await tx.run(_CONSUME, {"ids": bigints(ids)})


async def in_force(tx: ReadTx, known: str) -> InForce | None:
    return await tx.one(_IN_FORCE, {"known": known})


async def body(tx: ReadTx, digest: str) -> str | None:
    return await tx.one(_BODY, {"digest": digest})


async def apply(tx: Tx, *, digest: str, name: str, body: str, effective_from: datetime | None, by: str) -> Applied:
    return await tx.single(_APPLY, {"digest": digest, "name": name, "body": body, "effective_from": effective_from, "by": by})


async def applied(tx: ReadTx, *, before: int, limit: int) -> list[Applied]:
    return await tx.all(_APPLIED, {"before": before, "limit": limit})


async def applied_last(tx: ReadTx, digest: str) -> Applied | None:
    return await tx.one(_APPLIED_LAST, {"digest": digest})


async def in_force_since(tx: ReadTx) -> Applied | None:
    return await tx.one(_IN_FORCE_SINCE)


async def coming(tx: ReadTx, *, limit: int) -> list[Applied]:
    return await tx.all(_COMING, {"limit": limit})


async def decision(tx: ReadTx, decision_id: int) -> Decision | None:
    return await tx.one(_DECISION, {"id": decision_id})


async def decisions(
    tx: ReadTx,
    *,
    principal: str | None,
    action: str | None,
    outcome: str | None,
    since: datetime | None,
    before: int,
    limit: int,
) -> list[Decision]:
    parameters = {
        "principal": principal,
        "action": action,
        "outcome": outcome,
        "since": since,
        "before": before,
        "limit": limit,
    }
    return await tx.all(_DECISIONS, parameters)


async def decisions_onward(tx: ReadTx, *, after: int, since: datetime | None, limit: int) -> list[Decision]:
    return await tx.all(_DECISIONS_ONWARD, {"after": after, "since": since, "limit": limit})


async def first_decision(tx: ReadTx, since: datetime) -> int | None:
    return await tx.one(_FIRST_DECISION, {"since": since})


async def count_decisions(tx: ReadTx, *, after: int, limit: int) -> int:
    return await tx.single(_COUNT_DECISIONS, {"after": after, "limit": limit})


async def next_version(tx: Tx) -> int:
    return await tx.single(_NEXT_VERSION)


async def copy_entries(tx: Tx, rows: Iterable[tuple[int, str, str, str]]) -> int:
    return await tx.copy("policy.list_entry", ("version", "entry_id", "name", "normalized"), rows)


async def publish(tx: Tx, *, name: str, kind: str, version: int, source: str, by: str) -> ListInfo:
    return await tx.single(_PUBLISH, {"name": name, "kind": kind, "version": version, "source": source, "by": by})


async def lists(tx: ReadTx) -> list[ListInfo]:
    return await tx.all(_LISTS)


async def find_entries(tx: ReadTx, value: str, *, list_name: str | None, limit: int) -> list[ListEntry]:
    parameters = {"list": list_name, "name_form": name_form(value), "id_form": id_form(value), "limit": limit}
    return await tx.all(_FIND_ENTRIES, parameters)


async def some_entries(tx: ReadTx, list_name: str, *, after: str, limit: int) -> list[ListEntry]:
    return await tx.all(_SOME_ENTRIES, {"list": list_name, "after": after, "limit": limit})


def _reserved(reserved: Sequence[tuple[int, int, int]]) -> dict[str, object]:
    return {
        "counters": bigints([counter for counter, _, _ in reserved]),
        "counts": bigints([count for _, count, _ in reserved]),
        "sums": bigints([total for _, _, total in reserved]),
    }
