"""What is done for customers: what the bank knows of them, how they prove who they are, their payees and standing orders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

from tallystick import approvals, audit, customers, identity, ledger, payments
from tallystick.actions import gate, store
from tallystick.actions.held import lock_accounts
from tallystick.actions.inside import between
from tallystick.actions.makers import AUTHORITY_GONE
from tallystick.actions.model import Denied, Held, Payee
from tallystick.actions.outside import Party, SendPayment, payment_facts, send_payment
from tallystick.actions.registry import ActionType, register
from tallystick.db import Database, ReadTx, Tx
from tallystick.identity import Principal, house
from tallystick.kit import Conflict, Invalid, TallystickError, Unavailable, check_text, format_minor, parse_minor

STANDING_ORDERS = "standing-orders"
"""Who pays standing orders on their day."""

_PAGE = 100
_TAKEN = "already_paid"
_CHANGEABLE = ("full_name", "street", "city", "region")


@dataclass(frozen=True, slots=True)
class ChangeCustomer:
    """What is to be changed of what the bank knows of a customer; what is left out stays."""

    customer: str
    full_name: str | None = None
    street: str | None = None
    city: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class ChangeCredential:
    """By what a customer is to prove who they are: the salted hash of a secret, which itself is written nowhere."""

    customer: str
    salt: str
    hash: str

    @classmethod
    def of(cls, customer: str, secret: str, *, under: str) -> ChangeCredential:
        """The payload for a secret; asked for again `under` the same key, it is the same. Refuses with `Invalid`
        (`secret_malformed`).
        """
        credential = customers.hash_secret(secret, salt_of=f"{customer} {under}")
        return cls(customer, credential.salt.hex(), credential.hash.hex())

    def credential(self) -> customers.Credential:
        """What is to be kept. Refuses with `Invalid` (`secret_malformed`)."""
        if not re.fullmatch("[0-9a-f]{32} [0-9a-f]{64}", f"{self.salt} {self.hash}"):
            raise Invalid("secret_malformed", "a salt is 16 bytes and a hash 32, in hexadecimal")
        return customers.Credential(bytes.fromhex(self.salt), bytes.fromhex(self.hash))


@dataclass(frozen=True, slots=True)
class AddPayee:
    """Somebody whom an account may pay as one it knows: an account of the bank, or one outside of it, at `bank`.

    Without a bank it is the account of the bank that has this name; where there is none, one at a bank that is not named.
    """

    account: str
    payee: str
    name: str | None = None
    bank: str | None = None


@dataclass(frozen=True, slots=True)
class CreateOrder:
    """A standing order to make; see `customers.Plan`. `amount` is a decimal in the account's asset."""

    name: str
    account: str
    nostro: str
    payee: Party
    amount: str
    first_on: date
    every: Literal["once", "week", "month"] = "month"
    purpose: str | None = None


@dataclass(frozen=True, slots=True)
class ChangeOrder:
    """What is to be changed of a standing order; what is left out stays."""

    name: str
    payee: Party | None = None
    amount: str | None = None
    first_on: date | None = None
    every: Literal["once", "week", "month"] | None = None
    purpose: str | None = None
    end: bool = False


@dataclass(frozen=True, slots=True)
class Paid:
    """How many days of standing orders came to which outcome, and from which id on there may be more."""

    counts: Mapping[str, int]
    after: int | None


async def _customer_facts(tx: ReadTx, payload: ChangeCustomer | ChangeCredential) -> Mapping[str, Any]:
    facts: dict[str, Any] = {"customer": str((await customers.get(tx, payload.customer)).id)}
    if isinstance(payload, ChangeCustomer):
        facts["fields"] = [name for name in _CHANGEABLE if getattr(payload, name) is not None]
        if not facts["fields"]:
            raise Invalid("nothing_to_change", "say what is to be changed")
    else:
        payload.credential()
    return facts


async def _change_customer(tx: Tx, by: Principal, payload: ChangeCustomer) -> int:
    return await customers.change(
        tx,
        payload.customer,
        full_name=payload.full_name,
        street=payload.street,
        city=payload.city,
        region=payload.region,
        by=by.name,
    )


async def _change_credential(tx: Tx, by: Principal, payload: ChangeCredential) -> int:
    return await customers.set_credential(tx, payload.customer, payload.credential(), by=by.name)


async def _payee_facts(tx: ReadTx, payload: AddPayee) -> Mapping[str, Any]:
    if not check_text(payload.payee, "a payee", 200):
        raise Invalid("counterparty_missing", "a payee is an account")
    check_text(payload.name or "", "a payee's name", 200)
    check_text(payload.bank or "", "a bank", 100)
    check_text(Party(None, payload.payee, payload.bank).payee, "a payee with its bank", 200)
    account = await ledger.account(tx, payload.account)
    facts = await payment_facts(tx, account, Party(payload.name, payload.payee, payload.bank))
    inside = await _inside(tx, payload)
    if inside is None:
        return facts
    return {name: value for name, value in facts.items() if name != "payee"} | await between(tx, account.name, inside.name)


async def _inside(tx: ReadTx, payload: AddPayee) -> ledger.AccountRef | None:
    return None if payload.bank is not None else (await ledger.references(tx, [payload.payee])).get(payload.payee)


async def _add_payee(tx: Tx, by: Principal, payload: AddPayee) -> int:
    account = await ledger.account(tx, payload.account)
    inside = await _inside(tx, payload)
    payee = Party(None, payload.payee, payload.bank).payee if inside is None else inside.name
    await store.know_payee(tx, account.id, payee, label=payload.name, by=by.name)
    await audit.append(
        tx, principal=by.name, on_behalf_of=by.on_behalf_of, verb="payees.add", subject_kind="account", subject_id=account.id
    )
    return account.id


async def payees(tx: ReadTx, account: str, *, after: str = "", limit: int = 50) -> list[Payee]:
    """A page of whom an account knows, in order, after one of them. Refuses with `NotFound` (`unknown_account`)."""
    return await store.payees(tx, (await ledger.account(tx, account)).id, after=after, limit=limit)


async def _order_facts(tx: ReadTx, payload: CreateOrder) -> Mapping[str, Any]:
    account = await ledger.account(tx, payload.account)
    _to(payload.payee)
    await customers.check_first_on(tx, payload.first_on)
    facts = await payment_facts(tx, account, payload.payee)
    amount = parse_minor(payload.amount, account.unit)
    return facts | {
        "asset": account.asset,
        "scale": account.scale,
        "amount": amount,
        "every": payload.every,
        "paid_later": True,
    }


async def _create_order(tx: Tx, by: Principal, payload: CreateOrder) -> customers.Plan:
    account = await ledger.account(tx, payload.account)
    nostro = await payments.nostro(tx, payload.nostro)
    if nostro.asset != account.asset:
        raise Invalid("currency_mismatch", f"{nostro.name} is in {nostro.asset}, and {account.name} in {account.asset}")
    terms = customers.Terms(
        nostro.name,
        *_to(payload.payee),
        parse_minor(payload.amount, account.unit),
        payload.purpose,
        payload.first_on,
        payload.every,
    )
    made = await customers.plan_order(tx, payload.name, account.id, account.asset, terms, by=by.name, maker=by)
    await _know(tx, by, made)
    return made


async def _change_facts(tx: Tx, payload: ChangeOrder) -> Mapping[str, Any]:
    order = await customers.plan(tx, payload.name)
    # Whatever changes or pays the order by the gate has the account's lock, so it stays as policy and people see it here.
    await lock_accounts(tx, [order.account])
    order = await customers.plan(tx, payload.name)
    account = await ledger.account(tx, order.account)
    if payload == ChangeOrder(payload.name):
        raise Invalid("nothing_to_change", "say what is to be changed")
    if payload.first_on is not None and payload.first_on != order.first_on:
        await customers.check_first_on(tx, payload.first_on)
    before = (order.to_name, order.to_bank, order.to_account)
    to = before if payload.payee is None else _to(payload.payee)
    payee = payload.payee or Party(order.to_name, order.to_account, order.to_bank)
    facts = await payment_facts(tx, account, payee)
    amount = order.amount if payload.amount is None else parse_minor(payload.amount, order.unit)
    return facts | {
        "asset": order.asset,
        "scale": order.scale,
        "amount": amount,
        "amount_before": order.amount,
        "amount_rise_percent": max(0, -(-100 * (amount - order.amount) // order.amount)),
        "payee_changes": to[1:] != before[1:],
        "order": order.name,
        "order_version": order.n,
        "every": payload.every or order.every,
        "ends": payload.end,
        "paid_later": True,
    }


async def _change_order(tx: Tx, by: Principal, payload: ChangeOrder) -> customers.Plan:
    order = await customers.plan(tx, payload.name)
    to = (order.to_name, order.to_bank, order.to_account) if payload.payee is None else _to(payload.payee)
    terms = customers.Terms(
        order.nostro,
        *to,
        order.amount if payload.amount is None else parse_minor(payload.amount, order.unit),
        payload.purpose if payload.purpose is not None else order.purpose,
        payload.first_on or order.first_on,
        payload.every or order.every,  # type: ignore[arg-type]
        "ended" if payload.end else "active",
    )
    changed = await customers.change_order(tx, payload.name, terms, by=by.name, maker=by)
    await _know(tx, by, changed)
    return changed


def _to(payee: Party) -> tuple[str, str, str]:
    """The name, the bank and the account of somebody whom a standing order pays."""
    if not payee.name or not payee.account:
        raise Invalid("counterparty_missing", "a standing order names the person and the account that it goes to")
    return payee.name, payee.bank or "", payee.account


async def _know(tx: Tx, by: Principal, order: customers.Plan) -> None:
    """Who is paid by a standing order that was let pass is a payee that the account knows."""
    payee = Party(None, order.to_account, order.to_bank).payee
    await store.know_payee(tx, order.account_id, payee, label=order.to_name, by=by.name)


async def pay_due_orders(database: Database, today: date, *, by: str = STANDING_ORDERS) -> dict[str, int]:
    """Pay every standing order that is due by a day; how many days of orders came to which outcome. See `pay_due_page`."""
    counts: Counter[str] = Counter()
    after: int | None = 0
    while after is not None:
        paid = await database.retrying(lambda tx, after=after: pay_due_page(tx, today, after=after, by=by))  # type: ignore[misc]
        counts.update(paid.counts)
        after = paid.after
    return dict(counts)


async def pay_due_page(tx: Tx, today: date, *, after: int = 0, limit: int = _PAGE, by: str = STANDING_ORDERS) -> Paid:
    """Pay standing orders above the id `after` that are due by a day, each as an action of its own; at most `limit` payments.

    Each is decided in the name of who said last what it says, as they are now; where nobody knows who that is, or it was a part
    of the house, in the name of `by`. Where they are gone, or their mandate is, the day has failed (`authority_gone`).
    What policy lets pass is paid; what it holds is put to people, and what it denies, or what cannot be paid, is noted. A day
    of an order is taken once, whoever runs this and whatever stops it. Days that were missed are made up for, oldest first.
    """
    counts: Counter[str] = Counter()
    names = _Makers(tx, house(by))
    page = await customers.plans(tx, status="active", after=after, limit=limit)
    # Each is decided by itself, so the locks of all are taken before the first.
    due = [(await names.of(order), order, day) for order in page if (day := order.due(today)) is not None]
    await gate.lock_all(tx, [(maker, _payment(order, day)) for maker, order, day in due if maker is not None])
    for order in page:
        while (day := order.due(today)) is not None:
            if counts.total() == limit:
                return Paid(counts, order.id - 1)
            outcome = await _pay(tx, order, day, by, await names.of(order))
            if outcome is not None:
                counts[outcome] += 1
            # As it stands now: somebody else may have paid it, changed or ended it.
            order = await customers.plan(tx, order.name)  # noqa: PLW2901
    tx.decision = None
    return Paid(counts, page[-1].id if len(page) == limit else None)


class _Makers:
    """In whose names the orders of a page are paid, each looked up once."""

    def __init__(self, tx: Tx, house: Principal) -> None:
        self._tx = tx
        self._house = house
        self._found: dict[tuple[str, frozenset[str], str | None, int | None], Principal | None] = {}

    async def of(self, order: customers.Plan) -> Principal | None:
        """`None` where they, or their mandate, are gone."""
        if order.roles is None:
            return self._house
        who = order.by, frozenset(order.roles), order.version, order.mandate_id
        if who not in self._found:
            self._found[who] = await self._look(order.by, order.roles, order.version, order.mandate_id)
        return self._found[who]

    async def _look(self, name: str, roles: list[str], version: str | None, mandate_id: int | None) -> Principal | None:
        who = name, version, mandate_id
        found = await identity.as_of_now(self._tx, [who])
        if who not in found:
            return self._house
        now = found[who]
        return None if now is None else replace(now, roles=now.roles & frozenset(roles))


async def _had_a_say(tx: ReadTx, order: customers.Plan) -> frozenset[str]:
    """Who may not vote on the payments of an order: who made or changed it, who stood behind them, and who agreed to it."""
    names: set[str] = set()
    for author in await customers.authors(tx, order.id):
        names.update((author.by, *author.behind))
        if author.approval_id is not None:
            names.update(vote.person for vote in await approvals.votes(tx, author.approval_id) if vote.vote != "reject")
    return frozenset(names)


async def _pay(tx: Tx, order: customers.Plan, day: date, by: str, maker: Principal | None) -> str | None:
    if maker is None:
        return "failed" if await _note(tx, order, day, by, "failed", reason=AUTHORITY_GONE) else None
    try:
        async with tx.part():
            return await _pay_once(tx, order, day, by, maker)
    except Unavailable:
        raise
    except TallystickError as refusal:
        if refusal.code == _TAKEN:
            return None
        # An order that cannot be paid keeps no other from being paid.
        return "failed" if await _note(tx, order, day, by, "failed", reason=refusal.code) else None


async def _pay_once(tx: Tx, order: customers.Plan, day: date, by: str, maker: Principal) -> str:
    payload = _payment(order, day)
    entered = await gate.enter(tx, maker, payload, barred=lambda: _had_a_say(tx, order))
    noted: dict[str, Any]
    if isinstance(entered, Held):
        noted = {"outcome": "held", "action_id": entered.action_id}
    elif isinstance(entered, Denied):
        noted = {"outcome": "denied"}
    else:
        sent = await send_payment(tx, maker, payload.outgoing())
        if isinstance(sent, TallystickError):
            raise sent
        failed = sent.payment.status == "failed"
        noted = {"outcome": "failed" if failed else "paid", "payment_id": sent.payment.id, "reason": sent.payment.reason}
    if not await _note(tx, order, day, by, **noted):
        raise Conflict(_TAKEN, f"{order.name} was paid for {day} by another, or changed")
    return str(noted["outcome"])


def _payment(order: customers.Plan, day: date) -> SendPayment:
    return SendPayment(
        order.nostro,
        order.account,
        format_minor(order.amount, order.unit),
        Party(order.to_name, order.to_account, order.to_bank or None),
        order.asset,
        f"SO-{order.id}-{day:%Y%m%d}",
        order.purpose,
    )


async def _note(
    tx: Tx,
    order: customers.Plan,
    day: date,
    by: str,
    outcome: str,
    *,
    payment_id: int | None = None,
    action_id: int | None = None,
    reason: str | None = None,
) -> bool:
    if not await customers.note_run(tx, order, day, outcome, payment_id=payment_id, action_id=action_id, reason=reason):
        return False
    why = {} if reason is None else {"reason": reason}
    await audit.append(
        tx, principal=by, verb="standing_orders.run", subject_kind="standing_order", subject_id=order.id,
        detail={"due_on": day.isoformat(), "outcome": outcome, **why},
    )  # fmt: skip
    return True


def _tell_order(order: customers.Plan) -> Mapping[str, Any]:
    return {"order": order.name, "n": order.n, "status": order.status}


register(ActionType("customer.change", ChangeCustomer, _customer_facts, _change_customer, lambda id: {"customer": str(id)}))
register(
    ActionType(
        "customer.credential",
        ChangeCredential,
        _customer_facts,
        _change_credential,
        lambda id: {"customer": str(id)},
        hidden=frozenset({"salt", "hash"}),
    )
)
register(ActionType("payee.add", AddPayee, _payee_facts, _add_payee))
register(ActionType("standing_order.create", CreateOrder, _order_facts, _create_order, _tell_order))
register(
    ActionType(
        "standing_order.change",
        ChangeOrder,
        _change_facts,
        _change_order,
        _tell_order,
        bound={"order_version": "order_changed"},
    )
)
