"""`/v1/policies` and `/v1/decisions`: the bank's rules, what was decided by them, and why."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import policy
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import Instant, Name, PathId, Strict
from tallystick.identity import Principal, sees_all
from tallystick.kit import Forbidden, NotFound, loads_stored

router = APIRouter(route_class=ExactRoute, tags=["policy"])
_POLICIES = "policies"
_DECISIONS = "decisions"
_SEE_ALL = frozenset({"operator", "approver", "auditor", "admin"})
_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_RULE: JsonDict = {"id": "small", "when": {"kind": "agent"}, "amount": {"at_most": {"EUR": "1000.00"}}}
_DOCUMENT: JsonDict = {"name": "house", "rules": [{"id": "all", "allow": True}, _RULE]}
_POLICY: JsonDict = {
    "id": "3",
    "digest": _DIGEST,
    "name": "house",
    "effective_from": "2026-04-21T12:34:56.789012Z",
    "applied_by": "cli:ann",
    "applied_at": "2026-04-21T12:34:56.789012Z",
}
_REASON: JsonDict = {
    "rule": "small",
    "kind": "amount",
    "outcome": "hold",
    "observed": "1250.00 EUR",
    "limit": "at most 1000.00 EUR",
    "change": "an amount of at most 1000.00 EUR",
}
_DECISION: JsonDict = {
    "id": "77",
    "at": "2026-04-21T12:34:56.789012Z",
    "principal": "payments-agent",
    "on_behalf_of": None,
    "action": "transfer",
    "outcome": "hold",
    "reasons": [_REASON],
    "policy": _DIGEST,
    "payload_digest": _DIGEST,
    "task_id": None,
    "approval_id": None,
    "consumed": False,
    "erased_by": None,
}

_CHECKED: JsonDict = {
    "ok": False,
    "problems": ['rules[0].amount.at_most.EUR: a number of at least 0, such as "12.50"'],
    "digest": None,
    "rules": None,
    "verdict": None,
}

Outcome = Literal["allow", "hold", "deny"]
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the policy's canonical JSON.")]


class PolicyAnswer(BaseModel):
    """A policy that was applied, and from when on."""

    model_config = ConfigDict(json_schema_extra={"examples": [_POLICY]})

    id: str
    digest: str
    name: str
    effective_from: datetime
    applied_by: str
    applied_at: datetime


class PolicyPage(BaseModel):
    """Policies, the one applied last first."""

    items: list[PolicyAnswer]
    next_cursor: str | None


class PolicyDetail(BaseModel):
    """A policy with its document. Where none was ever applied, the one in force is empty, and denies everything."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_POLICY, "document": _DOCUMENT}]})

    id: str | None
    digest: str
    name: str
    effective_from: datetime | None
    applied_by: str | None
    applied_at: datetime | None
    document: dict[str, Any]


class CheckBody(Strict):
    """A policy to check: as a JSON `document`, or as `text` in YAML or JSON. With `facts`, what it says of them is told."""

    document: dict[str, Any] | None = Field(default=None, examples=[_DOCUMENT])
    text: str | None = Field(default=None, examples=["name: house\nrules:\n  - {id: all, allow: yes}\n"])
    facts: dict[str, Any] | None = Field(default=None, examples=[{"action": "transfer", "kind": "agent", "roles": ["agent"]}])

    @model_validator(mode="after")
    def _one_of_them(self) -> CheckBody:
        if (self.document is None) == (self.text is None):
            raise ValueError("either a document or a text is given")
        return self


class ReasonAnswer(BaseModel):
    """What a rule said: what it observed, its limit, and what would change it."""

    rule: str
    kind: str
    outcome: Outcome
    observed: str | None
    limit: str | None
    change: str | None


class VerdictAnswer(BaseModel):
    """What a policy says of facts, by which rules; `kept` are the rules whose limits the facts keep."""

    outcome: Outcome
    reasons: list[ReasonAnswer]
    kept: list[str]


class CheckAnswer(BaseModel):
    """Whether it is a policy; where not, every problem with its place."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CHECKED]})

    ok: bool
    problems: list[str]
    digest: str | None
    rules: int | None
    verdict: VerdictAnswer | None


class DecisionAnswer(BaseModel):
    """What was decided, and why. `consumed` says that the effect was carried out.

    What people have agreed to is `allow` and has an `approval_id`; its reasons are those for which they were asked. Facts and
    reasons of a decision that was erased with its customer are gone; `erased_by` is the event of the record that tells of it.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_DECISION]})

    id: str
    at: datetime
    principal: str
    on_behalf_of: str | None
    action: str
    outcome: Outcome
    reasons: list[ReasonAnswer]
    policy: str
    payload_digest: str
    task_id: str | None
    approval_id: str | None
    consumed: bool
    erased_by: str | None


class DecisionDetail(DecisionAnswer):
    """A decision with the facts it has seen and the rules that looked at them. `replays`: the same is said of them again."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**_DECISION, "facts": {"amount": 125000}, "kept": ["daily"], "replays": True}]}
    )

    facts: dict[str, Any]
    kept: list[str]
    replays: bool


class DecisionPage(BaseModel):
    """Decisions, newest first."""

    items: list[DecisionAnswer]
    next_cursor: str | None


@router.get("/v1/policies", response_model=PolicyPage)
async def list_policies(*, call: CurrentCall, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """The policies that were applied, newest first."""
    _check_may_read(call.principal)
    before = bound_of(cursor, _POLICIES)
    async with call.database.read() as tx:
        rows = await policy.policies(tx, before=before, limit=limit + 1)
    return page(rows, limit, _POLICIES, item=_applied, bound=lambda row: row.id)


@router.get("/v1/policies/current", response_model=PolicyDetail)
async def get_current_policy(call: CurrentCall) -> Response:
    """The policy in force."""
    _check_may_read(call.principal)
    async with call.database.read() as tx:
        found = await policy.current(tx)
        return Json(_detail(found, await policy.applied_last(tx, found.digest)))


@router.get("/v1/policies/{digest}", response_model=PolicyDetail)
async def get_policy(digest: Digest, call: CurrentCall) -> Response:
    """A policy that was ever applied."""
    _check_may_read(call.principal)
    async with call.database.read() as tx:
        found = await policy.get(tx, digest)
        return Json(_detail(found, await policy.applied_last(tx, digest)))


@router.post("/v1/policy-checks", response_model=CheckAnswer)
async def check_policy(body: CheckBody, call: CurrentCall) -> Response:
    """Check a policy, and what it says of facts. Nothing is stored."""
    _check_may_read(call.principal)
    source = body.text if body.text is not None else body.document
    assert source is not None, "the body was checked"
    try:
        # A large one takes a while.
        found = await asyncio.to_thread(policy.parse, source)
    except policy.Malformed as wrong:
        return Json({"ok": False, "problems": list(wrong.problems), "digest": None, "rules": None, "verdict": None})
    verdict = None if body.facts is None else _verdict(policy.explain(found, body.facts))
    return Json({"ok": True, "problems": [], "digest": found.digest, "rules": len(found.rules), "verdict": verdict})


@router.get("/v1/decisions", response_model=DecisionPage)
async def list_decisions(
    *,
    call: CurrentCall,
    principal: Annotated[Name | None, Query(description="Only those of this principal's actions.")] = None,
    action: Annotated[Name | None, Query(description="Only those of this type of action.")] = None,
    outcome: Annotated[Outcome | None, Query(description="Only those with this outcome.")] = None,
    since: Annotated[Instant | None, Query(description="Only those from then on.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """What was decided, newest first. Who has no role that votes or watches sees the decisions on their own actions alone."""
    before = bound_of(cursor, _DECISIONS)
    if not _sees_all(call.principal):
        if principal is not None and principal != call.principal.name:
            return page([], limit, _DECISIONS, item=_decision, bound=lambda row: row.id)
        principal = call.principal.name
    async with call.database.read() as tx:
        rows = await policy.decisions(
            tx, principal=principal, action=action, outcome=outcome, since=since, before=before, limit=limit + 1
        )
    return page(rows, limit, _DECISIONS, item=_decision, bound=lambda row: row.id)


@router.get("/v1/decisions/{decision_id}", response_model=DecisionDetail)
async def get_decision(decision_id: PathId, call: CurrentCall) -> Response:
    """One decision explained: by which rules, on which facts, and what would change it."""
    async with call.database.read() as tx:
        found = await policy.decision(tx, decision_id)
        if not _sees_all(call.principal) and found.principal != call.principal.name:
            raise NotFound("unknown_decision", f"there is no decision {decision_id}")
        rules = await policy.get(tx, found.policy)
    facts = policy.facts_of(found)
    if found.erased_by is not None:
        return Json(_decision(found) | {"facts": {}, "kept": [], "replays": False})
    explained = policy.explain(rules, facts)
    more = {"facts": facts, "kept": list(explained.kept), "replays": explained.verdict.text == found.verdict}
    return Json(_decision(found) | more)


def _sees_all(principal: Principal) -> bool:
    return not _SEE_ALL.isdisjoint(principal.roles) and sees_all(principal)


def _check_may_read(principal: Principal) -> None:
    if not _sees_all(principal):
        raise Forbidden("role_missing", "policies are for those who operate, approve, audit or administer")


def _applied(applied: policy.Applied) -> dict[str, Any]:
    return {
        "id": str(applied.id),
        "digest": applied.digest,
        "name": applied.name,
        "effective_from": applied.effective_from,
        "applied_by": applied.applied_by,
        "applied_at": applied.applied_at,
    }


def _detail(found: policy.Policy, applied: policy.Applied | None) -> dict[str, Any]:
    never = {"id": None, "effective_from": None, "applied_by": None, "applied_at": None}
    about = never | {"digest": found.digest, "name": found.name} if applied is None else _applied(applied)
    return about | {"document": dict(found.document)}


def _decision(decision: policy.Decision) -> dict[str, Any]:
    return {
        "id": str(decision.id),
        "at": decision.at,
        "principal": decision.principal,
        "on_behalf_of": decision.on_behalf_of,
        "action": decision.action,
        "outcome": decision.outcome,
        "reasons": [_NO_REASON | reason for reason in loads_stored(decision.verdict)["reasons"]],
        "policy": decision.policy,
        "payload_digest": decision.digest.hex(),
        "task_id": None if decision.task_id is None else str(decision.task_id),
        "approval_id": None if decision.approval_id is None else str(decision.approval_id),
        "consumed": decision.consumed,
        "erased_by": None if decision.erased_by is None else str(decision.erased_by),
    }


_NO_REASON: dict[str, Any] = {"observed": None, "limit": None, "change": None}


def _verdict(explained: policy.Explained) -> dict[str, Any]:
    said = loads_stored(explained.verdict.text)
    reasons = [_NO_REASON | reason for reason in said["reasons"]]
    return {"outcome": explained.verdict.outcome, "reasons": reasons, "kept": list(explained.kept)}
