"""Transfers: the busiest type of action, many in a call; each is decided, and what may be is carried out with it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from tallystick import approvals, audit, ledger, policy, work
from tallystick.actions import gate, registry, store
from tallystick.actions.for_tasks import Agreed, Item, NeedsPeople
from tallystick.actions.model import (
    SETTLE_TASK,
    SETTLEMENT_AGENT,
    Action,
    Asked,
    Decided,
    NewTransfer,
    Settle,
    Transfer,
)
from tallystick.db import ReadTx, Tx, key_reused
from tallystick.identity import Principal
from tallystick.kit import Conflict, Invalid, NotFound, TallystickError, check_text, digest, end, format_minor, parse_minor

_NEWEST = 2**63 - 1
ledger.keep_kind("transfer", reversible=True)


TYPE = "transfer"
_MANY = 400
"""So many transfers in a call are prepared while the process works out what the rules ask about them."""
_LATER = frozenset({"customer", "payee_known_s"})
"""The facts of a transfer that are read under the locks of the posting."""


@dataclass(frozen=True, slots=True)
class TransferPayload:
    """What a transfer is, for whoever is asked about it: `amount` is a decimal in `currency`."""

    from_account: str
    to_account: str
    amount: str
    currency: str
    settle: Settle = "now"
    description: str | None = None


class Checked(NamedTuple):
    """A transfer whose accounts exist and whose amount is exact, in minor units; `digest` is that of the action."""

    place: int
    new: NewTransfer
    debit: ledger.AccountRef
    credit: ledger.AccountRef
    amount: int
    payload: Mapping[str, Any]
    digest: bytes
    row: store.NewRow


Answers = dict[int, Transfer | TallystickError]
_Said = tuple[Action, approvals.Approval] | None


async def propose(
    tx: Tx,
    by: Principal,
    transfers: Sequence[NewTransfer],
    *,
    directory: ledger.Directory | None = None,
    task_id: int | None = None,
    agreed: Agreed | None = None,
) -> list[Transfer | TallystickError]:
    """Have transfers decided, and carry out what may be, or store it for the settlement agent; one answer each, in order.

    A transfer that policy denies (`denied`) or the business refuses (`insufficient_funds`, `account_closed`, `account_frozen`)
    is stored as `failed` with its reason; the money has not moved. One that policy holds is `held`, and people are asked. An
    answer that is an error (`unknown_account`, `same_account`, `currency_mismatch`, `amount_…`, `key_reused`) stored nothing,
    and leaves its neighbours alone. A key twice in one batch counts as two calls. `task_id` is the task that proposes them.

    With `agreed`, what people have said of what the task proposes, nothing is asked: raises `NeedsPeople` where policy holds
    what they have not agreed to.
    """
    accounts = await (directory or ledger.Directory()).find(
        tx, {name for new in transfers for name in (new.from_account, new.to_account)}
    )
    answers: Answers = {}
    checked: list[Checked] = []
    for place, new in enumerate(transfers):
        try:
            checked.append(check(place, new, accounts, by))
        except TallystickError as refusal:
            answers[place] = refusal
    if checked:
        answers |= await _decide(tx, by, checked, task_id, agreed)
    return [answers[place] for place in range(len(transfers))]


async def get(tx: ReadTx, transfer_id: int) -> Transfer:
    """The transfer with that id; refuses with `NotFound` (`unknown_transfer`)."""
    found = await store.by_ids(tx, [transfer_id])
    if transfer_id not in found:
        raise NotFound("unknown_transfer", f"there is no transfer {transfer_id}")
    return found[transfer_id]


async def of_journals(tx: ReadTx, journal_ids: Sequence[int]) -> list[Transfer]:
    """The transfers that some journals carried out, in the order of their ids."""
    return await store.of_journals(tx, journal_ids)


async def page(
    tx: ReadTx,
    *,
    account: str | None = None,
    among: Sequence[int] | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Transfer]:
    """A page of transfers below the id `before`, newest first; of one account by name, or `among` accounts by id."""
    account_id = (await ledger.account(tx, account)).id if account is not None else None
    return await store.page(tx, account_id=account_id, among=among, before=before or _NEWEST, limit=limit)


def check(place: int, new: NewTransfer, accounts: Mapping[str, ledger.AccountRef], by: Principal) -> Checked:
    debit, credit = accounts.get(new.from_account), accounts.get(new.to_account)
    if debit is None or (by.accounts is not None and debit.name not in by.accounts):
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
    unit = debit.unit
    amount = parse_minor(new.amount, unit)
    payload: dict[str, Any] = {
        "from_account": debit.name,
        "to_account": credit.name,
        "amount": format_minor(amount, unit),
        "currency": debit.asset,
        "settle": new.settle,
    }
    if new.description is not None:
        payload["description"] = new.description
    asked = digest([TYPE, payload])
    row = store.NewRow(new.key, asked, debit.id, credit.id, amount, debit.asset, new.description)
    return Checked(place, new, debit, credit, amount, payload, asked, row)


async def _decide(tx: Tx, by: Principal, items: Sequence[Checked], task_id: int | None, agreed: Agreed | None) -> Answers:
    answers: Answers = {}
    said: Sequence[_Said] = [None] * len(items)
    if agreed is not None:
        items, said, answers = await _agreed(tx, by, items, agreed)
        if not items:
            return answers
    about, wanted, prepared = await _prepared(tx, by, items)
    replays: dict[int, int] = {}
    fresh: list[_Known] = []
    for item, facts, one, state, id, customer, known_s in zip(
        items, about, said, prepared.states, prepared.transfer_ids, prepared.customers, prepared.known_s, strict=True
    ):
        if state == "reused":
            answers[item.place] = key_reused()
        elif state == "replay":
            replays[item.place] = id
        else:
            if customer is not None:
                facts["customer"] = str(customer)
            facts["payee_known_s"] = known_s
            fresh.append(_Known(item, id, facts, known_s is None, one))
    if fresh:
        usage = None
        if wanted is not None:
            usage = wanted.usage(prepared) if len(items) < _MANY else await policy.gather(tx, wanted)
        if usage is None or not usage.in_force:
            _, usage = await policy.gather_current(tx, [each.facts for each in fresh])
        answers |= await _gated(tx, by, fresh, usage, task_id=task_id, asking=agreed is None)
    return answers | await _first_answers(tx, replays)


async def _prepared(
    tx: Tx, by: Principal, items: Sequence[Checked]
) -> tuple[list[policy.Facts], policy.Wanted | None, store.Prepared]:
    """The facts of transfers, what the rules ask about them, and what the database says of them under lock.

    What the rules ask is answered with it where there are few. It takes long to find out about many, so the database is not
    kept waiting: it is asked in a statement of its own.
    """

    def asked() -> tuple[list[policy.Facts], policy.Wanted | None]:
        who = policy.principal_facts(by)
        about = [facts_of(item.debit, item.credit, item.amount, item.new.settle) | who for item in items]
        return about, policy.wanted_early(about, _LATER)

    rows, payees = [item.row for item in items], [item.credit.name for item in items]
    if len(items) < _MANY:
        about, wanted = asked()
        return about, wanted, await store.prepare(tx, by.name, rows, payees, wanted)
    preparing = asyncio.create_task(store.prepare(tx, by.name, rows, payees, None))
    try:
        await asyncio.sleep(0)
        about, wanted = asked()
    except BaseException:
        await end([preparing])
        raise
    return about, wanted, await preparing


async def _gated(
    tx: Tx,
    by: Principal,
    fresh: Sequence[_Known],
    usage: policy.Usage,
    *,
    task_id: int | None,
    asking: bool,
) -> Answers:
    """Have policy decide, and do as it says; where nobody is asked (`asking`), raise what people have not agreed to."""
    asked = [Asked(TYPE, each.item.digest, each.facts) for each in fresh]
    agreed = [each.said and each.said[1] for each in fresh]
    weighed = gate.weigh(by, usage, asked, [each.facts for each in fresh], task_id=task_id, agreed=agreed)
    held = [each for each, new in zip(fresh, weighed.new, strict=True) if new.outcome == "hold"]
    if held and not asking:
        raise NeedsPeople([Item(each.asked(), each.item.payload) for each in held])
    if not held and all(each.item.new.settle == "now" and each.said is None for each in fresh):
        return await _at_once(tx, by, fresh, weighed, policy.kept_with(weighed.new, usage), task_id=task_id)
    decided = weighed.decided(await policy.keep(tx, weighed.new, usage))
    for each, decision in zip(fresh, decided, strict=True):
        if each.said is not None:
            await gate.executed(tx, each.said[0], decision.id)
    return await _carry_out(tx, by, fresh, weighed, decided, task_id=task_id)


async def _agreed(
    tx: Tx, by: Principal, items: Sequence[Checked], agreed: Agreed
) -> tuple[list[Checked], list[_Said], Answers]:
    """Those that people have not refused, what they have said of each, and the refusals."""
    going: list[Checked] = []
    said: list[_Said] = []
    answers: Answers = {}
    for item in items:
        one = await agreed.take(tx, item.digest, by)
        if isinstance(one, TallystickError):
            answers[item.place] = one
        else:
            going.append(item)
            said.append(one)
    return going, said, answers


class _Known(NamedTuple):
    """A new transfer with the id it has, and all that is known of it: whether the payee is a `stranger` to the account,
    and what people have `said` of it.
    """

    item: Checked
    id: int
    facts: policy.Facts
    stranger: bool
    said: _Said

    def asked(self) -> Asked:
        """The question, by the facts of the transfer alone."""
        item = self.item
        own = facts_of(item.debit, item.credit, item.amount, item.new.settle)
        around = {name: self.facts[name] for name in _LATER if name in self.facts}
        return Asked(TYPE, item.digest, own | around)


def facts_of(debit: ledger.AccountRef, credit: ledger.AccountRef, amount: int, settle: str) -> policy.Facts:
    """The facts of a transfer; those `_LATER` are read under lock."""
    return {
        "action": TYPE,
        "account": debit.name,
        "account_kind": debit.kind,
        "counterparty": credit.name,
        "counterparty_kind": credit.kind,
        "amount": amount,
        "asset": debit.asset,
        "scale": debit.scale,
        "settle": settle,
    }


async def _carry_out(
    tx: Tx,
    by: Principal,
    items: Sequence[_Known],
    weighed: gate.Weighed,
    decided: Sequence[Decided],
    *,
    task_id: int | None,
) -> Answers:
    """Do with each what was decided of it, and is kept."""
    answers: Answers = {}
    now: list[int] = []
    queued: list[tuple[_Known, Decided]] = []
    for place, (each, decision) in enumerate(zip(items, decided, strict=True)):
        if decision.outcome == "hold" or (decision.outcome == "deny" and each.item.new.settle == "queued"):
            answers[each.item.place] = await _set_aside(tx, by, each, decision, task_id)
        elif each.item.new.settle == "now":
            now.append(place)
        else:
            queued.append((each, decision))
    if now:
        ids = [decided[place].id for place in now]
        answers |= await _at_once(tx, by, [items[place] for place in now], weighed.among(now), ids, task_id=task_id)
    if queued:
        answers |= await _queue(tx, by, queued)
    return answers


async def _at_once(
    tx: Tx,
    by: Principal,
    items: Sequence[_Known],
    weighed: gate.Weighed,
    decisions: Sequence[int] | Mapping[str, Any],
    *,
    task_id: int | None,
) -> Answers:
    """Carry out what is allowed, and store what is denied, under decisions that are kept (their ids) or are kept with it."""
    concluded = await store.conclude(
        tx,
        by.name,
        [each.item.row for each in items],
        on_behalf_of=by.on_behalf_of,
        task_id=task_id,
        ids=[each.id for each in items],
        outcomes=[new.outcome for new in weighed.new],
        decisions=decisions,
        fresh=[each.stranger for each in items],
        decided=gate.digest_of(weighed.digests),
    )
    return {
        each.item.place: _made(
            by, each, decision, concluded.stored_at,
            status="failed" if reason else "posted", reason=reason, journal_id=journal_id, task_id=task_id,
        )
        for each, decision, journal_id, reason in zip(
            items, weighed.decided(concluded.decisions), concluded.journal_ids, concluded.reasons, strict=True
        )
    }  # fmt: skip


async def _set_aside(tx: Tx, by: Principal, each: _Known, decision: Decided, task_id: int | None) -> Transfer:
    """Store a transfer that is held or denied."""
    item = each.item
    held = None
    if decision.outcome == "hold":
        held = await gate.hold(tx, by, each.asked(), item.payload, decision, task_id=task_id)
    stored_at = await store.insert_unsettled(
        tx,
        by.name,
        item.row,
        id=each.id,
        settle=item.new.settle,
        task_id=task_id,
        status="held" if held else "failed",
        reason=None if held else gate.DENIED,
        decision_id=decision.id,
        action_id=held.action_id if held else None,
    )
    if held is None:
        detail = {
            "transfers": [[str(each.id), gate.DENIED]],
            "decisions": [str(decision.id)],
            "decided": gate.digest_of([decision.sha256]),
        }
        await audit.append(
            tx, principal=by.name, on_behalf_of=by.on_behalf_of, verb="transfers.propose", subject_kind="transfer",
            subject_id=each.id, detail=detail, task_id=task_id, decision_id=decision.id,
        )  # fmt: skip
    return _made(
        by, each, decision, stored_at,
        status="held" if held else "failed", reason=None if held else gate.DENIED, task_id=task_id,
        approval_id=held.approval_id if held else None,
    )  # fmt: skip


async def _queue(tx: Tx, by: Principal, items: Sequence[tuple[_Known, Decided]]) -> Answers:
    ids = [each.id for each, _ in items]
    task_ids = await work.enqueue(tx, by.name, [work.NewTask(SETTLEMENT_AGENT, SETTLE_TASK, {"transfer_id": id}) for id in ids])
    stored_at = await store.insert_queued(
        tx,
        by.name,
        [each.item.row for each, _ in items],
        ids=ids,
        task_ids=task_ids,
        decisions=[decision.id for _, decision in items],
    )
    await audit.append(
        tx,
        principal=by.name,
        on_behalf_of=by.on_behalf_of,
        verb="transfers.propose",
        subject_kind="transfer",
        subject_id=ids[0],
        detail={
            "transfers": [[str(id), "queued"] for id in ids],
            "decisions": [str(decision.id) for _, decision in items],
            "decided": gate.digest_of([decision.sha256 for _, decision in items]),
        },
    )
    return {
        each.item.place: _made(by, each, decision, stored_at, status="queued", task_id=task_id)
        for (each, decision), task_id in zip(items, task_ids, strict=True)
    }


async def _first_answers(tx: Tx, replays: Mapping[int, int]) -> Answers:
    if not replays:
        return {}
    found = await store.by_ids(tx, sorted(set(replays.values())))
    return {place: found[transfer_id].as_first_answered() for place, transfer_id in replays.items()}


def _made(
    by: Principal,
    each: _Known,
    decision: Decided,
    stored_at: datetime,
    *,
    status: str,
    reason: str | None = None,
    journal_id: int | None = None,
    task_id: int | None = None,
    approval_id: int | None = None,
) -> Transfer:
    item = each.item
    return Transfer(
        id=each.id,
        principal=by.name,
        from_account=item.debit.name,
        to_account=item.credit.name,
        amount=item.amount,
        asset=item.debit.asset,
        scale=item.debit.scale,
        description=item.new.description,
        settle=item.new.settle,
        status=status,
        reason=reason,
        journal_id=journal_id,
        task_id=task_id,
        created_at=stored_at,
        settled_at=stored_at if status in ("posted", "failed") else None,
        decision_id=decision.id,
        approval_id=approval_id,
        reasons=() if decision.outcome == "allow" else decision.verdict.reasons,
    )


async def _facts_of(tx: ReadTx, payload: TransferPayload) -> Mapping[str, Any]:
    accounts = await ledger.references(tx, [payload.from_account, payload.to_account])
    debit, credit = (accounts.get(name) for name in (payload.from_account, payload.to_account))
    if debit is None or credit is None:
        raise NotFound("unknown_account", "there is no such account")
    around = await store.payee_facts(tx, debit.id, credit.id)
    facts = facts_of(debit, credit, parse_minor(payload.amount, debit.unit), payload.settle)
    if around.customer is not None:
        facts["customer"] = str(around.customer)
    facts["payee_known_s"] = around.known_s
    return facts


async def _resume(tx: Tx, by: Principal, payload: TransferPayload, action_id: int) -> Transfer:
    """Post a transfer that people agreed to; what the books refuse is how it ends."""
    row = await store.of_action(tx, action_id)
    accounts = await ledger.references(tx, [payload.from_account, payload.to_account])
    debit, credit = (accounts.get(name) for name in (payload.from_account, payload.to_account))
    if row is None or debit is None or credit is None:
        raise Conflict("payload_changed", "the transfer is not the one that was agreed to")
    if (row.from_account, row.to_account, row.amount) != (debit.id, credit.id, parse_minor(payload.amount, debit.unit)):
        raise Conflict("payload_changed", "the transfer is not the one that was agreed to")
    journal = ledger.Journal(
        kind=TYPE,
        entries=ledger.transfer(debit=row.from_account, credit=row.to_account, amount=row.amount),
        actor=by.name,
        on_behalf_of=by.on_behalf_of,
        ref_id=row.id,
        task_id=row.task_id,
        approval_id=tx.approval,
    )
    (posted,) = await ledger.post(tx, [journal])
    status = "failed" if posted.refusal else "posted"
    await store.end_held(tx, row.id, status, journal_id=posted.journal_id, reason=posted.refusal)
    if posted.refusal is None:
        await store.know_payees(tx, [row.from_account], [row.to_account], by=by.name)
    return (await store.by_ids(tx, [row.id]))[row.id]


async def _end(tx: Tx, action_id: int, reason: str) -> None:
    # One that `_resume` has ended stays as it is.
    row = await store.of_action(tx, action_id)
    if row is not None:
        await store.end_held(tx, row.id, "failed", journal_id=None, reason=reason)


registry.register(
    registry.ActionType(
        TYPE,
        TransferPayload,
        _facts_of,
        None,
        lambda transfer: {"transfer": str(transfer.id), "status": transfer.status, "reason": transfer.reason},
        proposable=False,
        resume=_resume,
        ended=_end,
        refused=lambda transfer: transfer.reason,
    )
)
