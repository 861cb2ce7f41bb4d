"""The gate: what is proposed is decided in the transaction that carries it out, and nothing else carries anything out.

`perform` is the way of every surface. `allow` lets the work be done at once, under the decision, which the books consume;
`hold` keeps the action and asks people; `deny` keeps the refusal. All three are on the record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import repeat
from typing import Any, Final, TypeVar

from tallystick import approvals, audit, customers, ledger, policy
from tallystick.actions import held as store
from tallystick.actions import registry
from tallystick.actions.model import Action, Asked, Decided, Denied, Held, reasons_of
from tallystick.db import Database, ReadTx, Tx, key_reused
from tallystick.identity import Principal
from tallystick.kit import Forbidden, NotFound, TallystickError, Unavailable, digest

Result = TypeVar("Result")
Barred = Callable[[], Awaitable[frozenset[str]]]
_HOUR_S = 3600
_NOBODY = 0
_TOLD = 200
DENIED: Final = "denied"


@dataclass(frozen=True, slots=True)
class Passed:
    """The action may be carried out in this transaction; `replay` says that it was, under the same key."""

    decision_id: int | None
    replay: bool = False


async def perform(
    database: Database,
    by: Principal,
    payload: Any,
    work: Callable[[Tx], Awaitable[Result]] | None = None,
    *,
    key: str | None = None,
    task_id: int | None = None,
    dry_run: bool = False,
) -> Result | Held | Denied:
    """Have an action decided and, where policy allows it, carried out, in one transaction.

    `work` is what carries it out, where that is more than the type's own `run`: the same effect, with an answer for this
    caller. A key is for `work` to heed: what was done under it before passes here without a decision. A `dry_run` is decided
    and done as it would be now, and undone.
    """
    assert key is None or work is not None, "what has a key has its own answer to it"

    async def attempt(tx: Tx) -> Any:
        passed = await enter(tx, by, payload, key=key, task_id=task_id)
        if not isinstance(passed, Passed):
            return passed
        if work is not None:
            return await work(tx)
        run = registry.of(payload).run
        assert run is not None, "what has no way of its own to be done comes with one"
        return await run(tx, by, payload)

    async def rehearse(tx: Tx) -> Any:
        async with tx.rehearsal():
            return await attempt(tx)

    return await database.retrying(rehearse if dry_run else attempt)


async def carry_out(tx: Tx, by: Principal, payload: Any) -> int:
    """Carry out an action that this transaction was let pass for, and keep what came of it; the action's id.

    One whose type gives back a refusal, or says that what came of it is one, has `failed`, for that reason.
    """
    kind = registry.of(payload)
    written = kind.write(payload)
    assert tx.decision is not None, "what is carried out was let pass"
    action_id = await store.insert_action(
        tx, type=kind.name, by=by, payload=written, digest=digest([kind.name, written]), decision_id=tx.decision, task_id=None
    )
    assert kind.run is not None, "what is proposed by its name can be carried out"
    result = await kind.run(tx, by, payload)
    gave_back = isinstance(result, TallystickError)
    reason = result.code if gave_back else kind.refused(result)
    told = None if gave_back else kind.tell(result)
    failed = {} if reason is None else {"reason": reason}
    await store.end(tx, action_id, "failed" if failed else "executed", reason=reason, result=told, executed_by=tx.decision)
    await audit.append(
        tx, principal=by.name, on_behalf_of=by.on_behalf_of, verb="actions.end" if failed else "actions.execute",
        subject_kind="action", subject_id=action_id, detail={"type": kind.name, **failed},
    )  # fmt: skip
    return action_id


async def enter(
    tx: Tx, by: Principal, payload: Any, *, key: str | None = None, task_id: int | None = None, barred: Barred | None = None
) -> Passed | Held | Denied:
    """Have one action decided. Where it passes, what this transaction then does is done under the decision.

    A key that stands for something that was done is let through, as the verb itself answers for it; one that stands for a
    refusal or a question is answered as it was. Refuses with `Invalid` (`key_reused`), `NotFound` as the type's facts do, also
    for what is out of the proposer's reach.
    """
    (entered,) = await enter_many(tx, by, [(payload, key)], task_id=task_id, barred=barred)
    if isinstance(entered, TallystickError):
        raise entered
    if isinstance(entered, Passed):
        tx.decision = entered.decision_id
    return entered


async def enter_many(
    tx: Tx,
    by: Principal,
    proposals: Sequence[tuple[Any, str | None]],
    *,
    task_id: int | None = None,
    barred: Barred | None = None,
) -> list[Passed | Held | Denied | TallystickError]:
    """Have actions of one principal decided, each with its key; one answer each, in order. See `enter`.

    Where people are asked, whom `barred` tells does not vote either.
    """
    answers: dict[int, Passed | Held | Denied | TallystickError] = {}
    written = [registry.of(payload).write(payload) for payload, _ in proposals]
    digests = [digest([registry.of(payload).name, one]) for (payload, _), one in zip(proposals, written, strict=True)]
    keys = [key for _, key in proposals if key is not None]
    uses = await store.uses(tx, by.name, keys) if keys else {}
    new: list[tuple[int, Asked]] = []
    for place, (payload, key) in enumerate(proposals):
        try:
            if key in uses:
                answers[place] = await _earlier(tx, uses[key], digests[place])
                continue
            kind = registry.of(payload)
            if kind.roles.isdisjoint(by.roles):
                raise Forbidden("role_missing", f"{kind.name} is proposed by: {', '.join(sorted(kind.roles))}")
            new.append((place, await ask(tx, by, payload, digests[place])))
        except TallystickError as refusal:
            answers[place] = refusal
    if len(new) == 1:
        decided = [await decide_one(tx, by, proposals[new[0][0]][0], new[0][1], task_id=task_id)]
    else:
        assert all(registry.named(asked.type).parts is None for _, asked in new), "what has parts is proposed by itself"
        decided = await decide(tx, by, [asked for _, asked in new], task_id=task_id) if new else []
    # A decision is for the transaction that asked for it: no other can post under it.
    await policy.consume(tx, [one.id for one in decided if one.outcome == "allow"])
    for (place, asked), one in zip(new, decided, strict=True):
        key = proposals[place][1]
        if one.outcome == "allow":
            answers[place] = Passed(one.id)
        elif one.outcome == "deny" or not registry.named(asked.type).can_wait:
            await _remember(tx, by, key, asked.digest, kind="decision", ref_id=one.id)
            await audit.append(
                tx, principal=by.name, on_behalf_of=by.on_behalf_of, verb="actions.deny", subject_kind="decision",
                subject_id=one.id, detail={"type": asked.type, "rules": _rules(one)}, task_id=task_id, decision_id=one.id,
            )  # fmt: skip
            answers[place] = Denied(one.id, one.verdict.reasons)
        else:
            also = frozenset[str]() if barred is None else await barred()
            held = await hold(tx, by, asked, written[place], one, task_id=task_id, excluded=also)
            await _remember(tx, by, key, asked.digest, kind="action", ref_id=held.action_id)
            answers[place] = held
    return [answers[place] for place in range(len(proposals))]


async def ask(tx: Tx, by: Principal, payload: Any, digest: bytes) -> Asked:
    """What policy is to be asked about an action. Refuses as the type's facts and `check_reach` do."""
    kind = registry.of(payload)
    facts = dict(await kind.facts(tx, payload))
    await check_reach(tx, by, facts)
    touches = set(_accounts(facts))
    if facts.get("account") is not None:
        touches.add(facts["account"])
    if facts.get("counterparty") is not None and facts.get("counterparty_kind") != "external":
        touches.add(facts["counterparty"])
    if kind.locks is not None:
        touches.update(await kind.locks(tx, payload))
    return Asked(kind.name, digest, facts, frozenset(touches))


async def lock_all(tx: Tx, proposals: Iterable[tuple[Principal, Any]]) -> None:
    """Take the locks of actions that one transaction is to decide one after the other: of all their accounts, then of all that
    is counted of them. One that cannot be read is left out; it is refused in its turn.
    """
    asked: list[Asked] = []
    about: list[policy.Facts] = []
    for by, payload in proposals:
        try:
            asked.append(await ask(tx, by, payload, b""))
            about += _about(by, asked[-1:])
        except Unavailable:
            raise
        except TallystickError:
            continue
    if asked:
        await _lock(tx, asked)
        await policy.gather_current(tx, about)


async def _lock(tx: Tx, asked: Iterable[Asked]) -> None:
    """Lock the accounts of actions, all of them at once and before any counter, as transfers do.

    So nothing waits for an account while it holds a counter that somebody with the account waits for.
    """
    names = {name for one in asked for name in one.touches}
    if names:
        await store.lock_accounts(tx, names)


def _about(by: Principal, asked: Iterable[Asked]) -> list[policy.Facts]:
    who = policy.principal_facts(by)
    return [{**_with_payee(one.facts), "action": one.type, **who} for one in asked]


def _with_payee(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Facts in which nobody outside is taken for an account of the bank that has the same name, whatever type tells of them."""
    if facts.get("counterparty_kind") != "external" or "payee" in facts or not isinstance(facts.get("counterparty"), str):
        return facts
    return {**facts, "payee": policy.outside_form(None, facts["counterparty"])}


async def decide_one(
    tx: Tx,
    by: Principal,
    payload: Any,
    asked: Asked,
    *,
    task_id: int | None = None,
    agreed: approvals.Approval | None = None,
    counts: bool = True,
) -> Decided:
    """What the current policy says of one action, and of its parts where it has any; see `decide` and `decide_whole`."""
    of = registry.of(payload).parts
    if of is not None:
        await _lock(tx, [asked])
        return await decide_whole(tx, by, asked, await of(tx, payload), task_id=task_id, agreed=agreed, counts=counts)
    (decided,) = await decide(tx, by, [asked], task_id=task_id, agreed=[agreed], counts=counts)
    return decided


async def decide(
    tx: Tx,
    by: Principal,
    asked: Sequence[Asked],
    *,
    task_id: int | None = None,
    agreed: Sequence[approvals.Approval | None] = (),
    tell: bool = True,
    counts: bool = True,
) -> list[Decided]:
    """What the current policy says of actions, in order, each decision kept; what is allowed counts for those after it.

    What policy holds is allowed where people have `agreed` to it, and their quorum covers what policy asks for now.
    One event of the record tells of them, unless the caller's own does (`tell`). Where nothing is carried out now, whatever
    policy says (not `counts`), it counts for nothing after this call.
    """
    await _lock(tx, asked)
    about = _about(by, asked)
    _, usage = await policy.gather_current(tx, about)
    weighed = weigh(by, usage, asked, about, task_id=task_id, agreed=agreed)
    ids = await policy.keep(tx, weighed.new, usage if counts else None)
    decided = weighed.decided(ids)
    if tell:
        told = [[str(one.id), each.type, one.outcome] for one, each in zip(decided, asked, strict=True)]
        await audit.append(
            tx, principal=by.name, on_behalf_of=by.on_behalf_of, verb="actions.decide", subject_kind="decision",
            subject_id=ids[0], task_id=task_id, decision_id=ids[0],
            detail={"decisions": told[:_TOLD], "count": len(decided), "decided": digest_of(weighed.digests)},
            payload=None if len(told) <= _TOLD else {"decisions": told},
        )  # fmt: skip
    return decided


async def decide_whole(
    tx: Tx,
    by: Principal,
    whole: Asked,
    parts: Sequence[Asked],
    *,
    task_id: int | None = None,
    agreed: approvals.Approval | None = None,
    counts: bool = True,
) -> Decided:
    """What the current policy says of an action that is made of others, all of which are decided before it.

    It passes where all of them do. What windows count are the parts; where it does not pass, nothing is counted, and of its
    parts only those decisions are kept that speak against it. Decisions of parts that pass are used up with the whole's; what
    people have agreed to of a part, they have agreed to of the whole, whose decision says so.
    """
    about, *of_parts = _about(by, (whole, *parts))
    rules, usage = await policy.gather_current(tx, [about, *of_parts])
    # The whole is held against what was used before it, and its parts one after the other.
    usage.fill(about)
    weighed = weigh(by, usage, parts, of_parts, task_id=task_id, agreed=[agreed] * len(parts))
    about["parts"] = policy.parts_fact(weighed.verdicts)
    verdict = policy.evaluate(rules, about)
    by_people = verdict.outcome == "hold" and agreed is not None and covers(agreed, verdict)
    outcome = "allow" if by_people else verdict.outcome
    passes = outcome == "allow"
    first = policy.NewDecision(
        by.name, by.on_behalf_of, whole.type, whole.digest, rules.digest, policy.facts_text(about), verdict.text, outcome,
        task_id, agreed.id if agreed is not None and by_people else None, policy.salts(1)[0],
    )  # fmt: skip
    spoke = zip(weighed.new, weighed.verdicts, strict=True)
    new = [first, *(one for one, said in spoke if (said.outcome == "allow") == passes)]
    ids = await policy.keep(tx, new, usage if passes and counts else None)
    if passes and counts:
        await policy.consume(tx, ids[1:])
    told = [[str(id), one.action, one.outcome] for id, one in zip(ids, new, strict=True)]
    await audit.append(
        tx, principal=by.name, on_behalf_of=by.on_behalf_of, verb="actions.decide", subject_kind="decision",
        subject_id=ids[0], task_id=task_id, decision_id=ids[0],
        detail={"decisions": told[:_TOLD], "count": len(ids), "decided": digest_of([one.sha256 for one in new])},
        payload=None if len(told) <= _TOLD else {"decisions": told},
    )  # fmt: skip
    return Decided(ids[0], outcome, verdict, first.sha256)


@dataclass(frozen=True, slots=True)
class Weighed:
    """What policy says of actions, before it is kept. `digests` are what the record holds of them."""

    new: Sequence[policy.NewDecision]
    verdicts: Sequence[policy.Verdict]
    digests: Sequence[bytes]

    def among(self, places: Sequence[int]) -> Weighed:
        """Some of them."""
        return Weighed(
            [self.new[place] for place in places],
            [self.verdicts[place] for place in places],
            [self.digests[place] for place in places],
        )

    def decided(self, ids: Sequence[int]) -> list[Decided]:
        """The decisions, once they are kept under these ids."""
        return [
            Decided(id, one.outcome, verdict, salted)
            for id, one, verdict, salted in zip(ids, self.new, self.verdicts, self.digests, strict=True)
        ]


def weigh(
    by: Principal,
    usage: policy.Usage,
    asked: Sequence[Asked],
    about: Sequence[policy.Facts],
    *,
    task_id: int | None = None,
    agreed: Sequence[approvals.Approval | None] = (),
) -> Weighed:
    """What policy says of actions, in order, by facts (`about`) that were gathered for; what is allowed is added to `usage`."""
    rules = usage.policy
    name, behalf, digest = by.name, by.on_behalf_of, rules.digest
    new: list[policy.NewDecision] = []
    verdicts: list[policy.Verdict] = []
    for one, facts, approval, salt in zip(asked, about, agreed or repeat(None), policy.salts(len(asked)), strict=False):
        usage.fill(facts)
        verdict = policy.evaluate(rules, facts)
        outcome, approval_id = verdict.outcome, None
        if outcome == "hold" and approval is not None and covers(approval, verdict):
            outcome, approval_id = "allow", approval.id
        if outcome == "allow":
            usage.add(facts)
        verdicts.append(verdict)
        new.append(
            policy.NewDecision(
                name, behalf, one.type, one.digest, digest, policy.facts_text(facts), verdict.text, outcome, task_id,
                approval_id, salt,
            )
        )  # fmt: skip
    return Weighed(new, verdicts, [one.sha256 for one in new])


def digest_of(salted: Iterable[bytes]) -> str:
    """SHA-256, in hexadecimal, over the salted digests of decisions in order: what the record holds of them."""
    return sha256(b"".join(salted)).hexdigest()


async def hold(
    tx: Tx,
    by: Principal,
    asked: Asked,
    written: Mapping[str, Any],
    decided: Decided,
    *,
    task_id: int | None = None,
    excluded: frozenset[str] = frozenset(),
) -> Held:
    """Keep an action that policy holds, and ask people; those in `excluded` do not vote, as if they had proposed it."""
    verdict = decided.verdict
    action_id = await store.insert_action(
        tx, type=asked.type, by=by, payload=written, digest=asked.digest, decision_id=decided.id, task_id=task_id
    )
    question = approvals.Question(
        action=asked.type,
        action_id=action_id,
        digest=asked.digest,
        shown=shown_of(asked, written, decided),
        maker=by.name,
        excluded=excluded | {name for name in (by.owner, by.on_behalf_of) if name is not None},
        approve=verdict.approve,
        expires_s=verdict.expires_s or 24 * _HOUR_S,
        escalate=_escalation(verdict),
        touches=await touched(tx, asked.facts),
    )
    approval = await approvals.ask(tx, question, by)
    await store.set_approval(tx, action_id, approval.id)
    await audit.append(
        tx, principal=by.name, on_behalf_of=by.on_behalf_of, verb="actions.hold", subject_kind="action", subject_id=action_id,
        detail={"type": asked.type, "rules": _rules(decided), "decided": digest_of([decided.sha256])},
        task_id=task_id,
        decision_id=decided.id, approval_id=approval.id,
    )  # fmt: skip
    return Held(action_id, approval.id, decided.id, verdict.reasons)


def shown_of(asked: Asked, written: Mapping[str, Any], decided: Decided) -> dict[str, Any]:
    """What people see of an action that they are asked about."""
    reasons = [asdict(one) for one in decided.verdict.reasons]
    return {
        "type": asked.type,
        "payload": registry.named(asked.type).shown(written),
        "facts": dict(asked.facts),
        "reasons": reasons,
    }


def _escalation(verdict: policy.Verdict) -> approvals.Escalation | None:
    if verdict.escalate is None:
        return None
    return approvals.Escalation(verdict.escalate.after_s, tuple(role for role, _ in verdict.escalate.approve))


async def executed(tx: Tx, action: Action, decision_id: int) -> None:
    """Note that a held action was carried out by the task that proposed it."""
    await store.end(tx, action.id, "executed", executed_by=decision_id)
    await audit.append(
        tx, principal=action.principal, on_behalf_of=action.on_behalf_of, verb="actions.execute", subject_kind="action",
        subject_id=action.id, detail={"type": action.type}, task_id=action.task_id,
        decision_id=decision_id, approval_id=action.approval_id,
    )  # fmt: skip


def covers(approval: approvals.Approval, verdict: policy.Verdict) -> bool:
    """Whether the quorum that was reached is at least the one that is asked for now; broken glass takes the place of any."""
    had = dict(approval.approve)
    return approval.broken_at is not None or all(had.get(role, 0) >= count for role, count in verdict.approve)


async def check_reach(tx: ReadTx, by: Principal, facts: Mapping[str, Any]) -> None:
    """Refuse with `NotFound` what is out of the proposer's reach, as if it were not there.

    Accounts within reach are so whoever owns them; what is about a person or a case is within the reach of customers.
    """
    accounts = _accounts(facts)
    if by.accounts is not None:
        for name in accounts:
            if name not in by.accounts:
                raise NotFound("unknown_account", f"there is no account {name}")
    if by.customers is None:
        return
    customer, case = _customer(facts), facts.get("case")
    if customer is not None and not (str(customer).isdigit() and int(customer) in by.customers):
        known = (await ledger.references(tx, accounts)).values()
        if customer not in await _owners(tx, [account.id for account in known]):
            raise NotFound("unknown_customer", f"there is no customer {customer}")
    if case is not None and customer is None:
        raise NotFound("unknown_case", f"there is no case {case}")


async def touched(tx: ReadTx, facts: Mapping[str, Any]) -> approvals.Touched:
    """What an action touches, as `check_reach` looks at it."""
    ids = sorted(found.id for found in (await ledger.references(tx, _accounts(facts))).values())
    customer, case = _customer(facts), facts.get("case")
    if (customer is None and case is None) or (customer is not None and customer in await _owners(tx, ids)):
        return approvals.Touched(tuple(ids), ())
    return approvals.Touched(tuple(ids), (int(customer) if str(customer).isdigit() else _NOBODY,))


async def _owners(tx: ReadTx, account_ids: Sequence[int]) -> set[str]:
    return {str(owner) for owner in await customers.owners(tx, account_ids)} if account_ids else set()


def _accounts(facts: Mapping[str, Any]) -> Sequence[str]:
    return facts.get("accounts") or ([facts["account"]] if facts.get("account") is not None else [])


def _customer(facts: Mapping[str, Any]) -> Any:
    return facts.get("customer", facts.get("subject"))


def denied(refusal: Denied) -> Forbidden:
    """The error of an action that policy denies."""
    said = "; ".join(f"{one.rule}: {one.change}" for one in refusal.reasons if one.outcome == "deny") or "nothing allows it"
    about = {"decision_id": str(refusal.decision_id), "reasons": [asdict(one) for one in refusal.reasons]}
    return Forbidden(DENIED, f"policy denies it: {said}"[:2000], about)


async def _earlier(tx: Tx, use: store.Use, asked: bytes) -> Passed | Held | Denied:
    if use.kind not in ("decision", "action"):
        return Passed(None, replay=True)
    if use.hash != asked:
        raise key_reused()
    if use.kind == "action":
        action = await store.action(tx, use.ref_id)
        assert action is not None
        assert action.approval_id is not None
        return Held(action.id, action.approval_id, action.decision_id, await _reasons(tx, action.decision_id))
    return Denied(use.ref_id, await _reasons(tx, use.ref_id))


async def _reasons(tx: Tx, decision_id: int) -> tuple[policy.Reason, ...]:
    return reasons_of((await policy.decision(tx, decision_id)).verdict)


async def _remember(tx: Tx, by: Principal, key: str | None, asked: bytes, *, kind: str, ref_id: int) -> None:
    if key is not None:
        await store.claim_key(tx, by.name, key, asked, kind=kind, ref_id=ref_id)


def _rules(decided: Decided) -> list[str]:
    return [one.rule for one in decided.verdict.reasons][:50]
