"""What changes of a customer: what the bank knows of them, how they prove who they are, and their standing orders."""

from __future__ import annotations

import calendar
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from tallystick import audit
from tallystick.customers import service
from tallystick.customers.model import NewStandingOrder
from tallystick.customers.store import standing_orders_by_name
from tallystick.db import Queries, ReadTx, Tx
from tallystick.identity import Principal
from tallystick.kit import MAX_MINOR, Asset, Conflict, Invalid, NotFound, check_text

Every = Literal["once", "week", "month"]
_SALT_BYTES = 16
_MAX_SECRET = 200
_SCRYPT = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}


@dataclass(frozen=True, slots=True)
class Plan:
    """A standing order as it stands: `amount` (minor units of `asset`) to `to_account` at `to_bank`, by way of `nostro`.

    It is due on `first_on` and, where it is not `once`, `every` week or month from then on. `n` counts its changes, `last_on`
    is the last day that was carried out. On days before `since` it is not due, where that is known.

    `by` said last what it says, with these `roles` (`None`: it is not known), in this `version` and under this mandate.
    """

    id: int
    name: str
    account_id: int
    account: str
    asset: str
    scale: int
    n: int
    nostro: str
    to_name: str
    to_bank: str
    to_account: str
    amount: int
    purpose: str | None
    first_on: date
    every: str
    status: str
    last_on: date | None
    since: date | None = None
    by: str = ""
    roles: list[str] | None = None
    version: str | None = None
    mandate_id: int | None = None

    @property
    def unit(self) -> Asset:
        return Asset(self.asset, self.scale)

    def due(self, today: date) -> date | None:
        """The next day on which it is due and that has come; a day past the end of a month is the month's last."""
        if self.status != "active":
            return None
        k, last = 0, self.last_on or date.min
        if self.since is not None:
            last = max(last, self.since - timedelta(days=1))
        while (day := _nth(self.first_on, self.every, k)) <= last and self.every != "once":
            k += 1
        return day if last < day <= today else None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a standing order is to say. See `Plan`."""

    nostro: str
    to_name: str
    to_bank: str
    to_account: str
    amount: int
    purpose: str | None
    first_on: date
    every: Every = "month"
    status: Literal["active", "ended"] = "active"


@dataclass(frozen=True, slots=True)
class Run:
    """A day on which a standing order was due: `paid`, `failed`, `held` for people or `denied`; `reason` is why it failed."""

    due_on: date
    n: int
    outcome: str
    payment_id: int | None
    action_id: int | None
    reason: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class RunOf:
    """A `Run`, and of which order."""

    order_id: int
    due_on: date
    n: int
    outcome: str
    payment_id: int | None
    action_id: int | None
    reason: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Author:
    """Who said what an order says, who stood `behind` them, and by which question people agreed to it."""

    by: str
    behind: list[str]
    approval_id: int | None


@dataclass(frozen=True, slots=True)
class Credential:
    """A salted hash."""

    salt: bytes
    hash: bytes


_queries = Queries(__package__, "changes.sql")
_CHANGE = _queries.bind("change_customer", int)
_SET_CREDENTIAL = _queries.bind("set_credential", int)
_CREDENTIAL = _queries.bind("credential", Credential)
_ADD_TERM = _queries.bind("add_term", int)
_LOCK_ORDER = _queries.bind("lock_order", bool)
_PLANS = _queries.bind("plans", Plan)
_NOTE_RUN = _queries.bind("note_run", int)
_RUNS = _queries.bind("runs", Run)
_NEWEST_RUNS = _queries.bind("newest_runs", RunOf)
_TODAY = _queries.bind("today", date)
_AUTHORS = _queries.bind("authors", Author)
_LAST_ZONE = "Etc/GMT+12"
"""Where a day is over last."""


async def change(
    tx: Tx,
    name: str,
    *,
    full_name: str | None = None,
    street: str | None = None,
    city: str | None = None,
    region: str | None = None,
    by: str,
) -> int:
    """Change what the bank knows of a customer; what is `None` stays. The customer's id.

    Refuses with `NotFound` (`unknown_customer`) and `Invalid` (`nothing_to_change`, `text_…`).
    """
    new = {"full_name": full_name, "street": street, "city": city, "region": region}
    told = {field: value for field, value in new.items() if value is not None}
    if not told:
        raise Invalid("nothing_to_change", "say what is to be changed")
    for field, value in told.items():
        check_text(value, field, 200 if field in ("full_name", "street") else 100)
    changed = await tx.one(_CHANGE, {"name": name, **new})
    if changed is None:
        raise NotFound("unknown_customer", f"there is no customer {name}")
    await audit.append(
        tx, principal=by, verb="customers.change", subject_kind="customer", subject_id=changed, detail={"fields": sorted(told)}
    )
    return changed


def hash_secret(secret: str, *, salt_of: str) -> Credential:
    """The scrypt hash of a secret, under a salt that is made of a text which is used once. Refuses with `Invalid`
    (`secret_malformed`).
    """
    if not 8 <= len(secret) <= _MAX_SECRET:
        raise Invalid("secret_malformed", f"a secret has 8 to {_MAX_SECRET} characters")
    salt = hashlib.sha256(salt_of.encode()).digest()[:_SALT_BYTES]
    return Credential(salt, _scrypt(secret, salt))


async def set_credential(tx: Tx, name: str, credential: Credential, *, by: str) -> int:
    """Let a customer prove who they are by another secret. Refuses with `NotFound` (`unknown_customer`)."""
    changed = await tx.one(_SET_CREDENTIAL, {"name": name, "salt": credential.salt, "hash": credential.hash, "by": by})
    if changed is None:
        raise NotFound("unknown_customer", f"there is no customer {name}")
    await audit.append(tx, principal=by, verb="customers.set_credential", subject_kind="customer", subject_id=changed)
    return changed


async def proves(tx: ReadTx, name: str, secret: str) -> bool:
    """Whether a secret is the customer's."""
    known = await tx.one(_CREDENTIAL, {"name": name})
    return known is not None and hmac.compare_digest(known.hash, _scrypt(secret[:_MAX_SECRET], known.salt))


async def plan_order(
    tx: Tx, name: str, account_id: int, asset: str, terms: Terms, *, by: str, maker: Principal | None = None
) -> Plan:
    """Make a standing order that says when it is carried out, and is paid in the name of its `maker`.

    No day is due that was over everywhere before. Refuses with `Conflict` (`standing_order_exists`).
    """
    _check(terms)
    order = NewStandingOrder(name, account_id, terms.to_bank, terms.to_account, terms.amount, asset, terms.purpose)
    if not await service.add_standing_orders(tx, [order], by=by):
        raise Conflict("standing_order_exists", f"there is a standing order {name} already")
    (made,) = await standing_orders_by_name(tx, [name])
    return await _say(tx, made.id, name, terms, by=by, maker=maker, since=await today(tx, _LAST_ZONE))


async def change_order(tx: Tx, name: str, terms: Terms, *, by: str, maker: Principal | None = None) -> Plan:
    """Change what a standing order says, from the next day on which it is due; it is paid in the name of its `maker` from then
    on. Where other days become due, none is that was over everywhere before the change.

    Refuses with `NotFound` (`unknown_standing_order`), `Conflict` (`standing_order_ended`).
    """
    _check(terms)
    known = await plan(tx, name)
    await tx.all(_LOCK_ORDER, {"id": known.id})
    known = await plan(tx, name)
    if known.status == "ended":
        raise Conflict("standing_order_ended", f"the standing order {name} has ended")
    same_days = (known.first_on, known.every) == (terms.first_on, terms.every)
    since = known.since if same_days else await today(tx, _LAST_ZONE)
    return await _say(tx, known.id, name, terms, by=by, maker=maker, since=since)


async def check_first_on(tx: ReadTx, day: date) -> None:
    """Refuse with `Invalid` (`first_on_past`) a day that is over everywhere."""
    if day < await today(tx, _LAST_ZONE):
        raise Invalid("first_on_past", f"a standing order begins today at the earliest, and {day} is over")


async def authors(tx: ReadTx, order_id: int) -> list[Author]:
    """All who had a say in what an order says, each once."""
    return await tx.all(_AUTHORS, {"order_id": order_id})


async def plan(tx: ReadTx, name: str) -> Plan:
    """The standing order of that name; refuses with `NotFound` (`unknown_standing_order`)."""
    found = await tx.all(_PLANS, {"account_id": None, "name": name, "status": None, "after": 0, "limit": 1})
    if not found:
        raise unknown_standing_order(name)
    return found[0]


def unknown_standing_order(name: str) -> NotFound:
    """The refusal of a standing order that is not there, or is none of the caller's business."""
    return NotFound("unknown_standing_order", f"there is no standing order {name} that says when it is carried out")


async def today(tx: ReadTx, time_zone: str) -> date:
    """The day that it is in a time zone, by the database's clock."""
    return await tx.single(_TODAY, {"time_zone": time_zone})


async def plans(
    tx: ReadTx, *, account_id: int | None = None, status: str | None = None, after: int = 0, limit: int = 50
) -> list[Plan]:
    """A page of standing orders that say when they are carried out, above the id `after`."""
    return await tx.all(_PLANS, {"account_id": account_id, "name": None, "status": status, "after": after, "limit": limit})


async def note_run(
    tx: Tx,
    order: Plan,
    due_on: date,
    outcome: str,
    *,
    payment_id: int | None = None,
    action_id: int | None = None,
    reason: str | None = None,
) -> bool:
    """Take a day on which an order is due; false where it was taken before, or the order says something else by now.

    From here on, until this transaction ends, nobody else changes the order or takes a day of it.
    """
    await tx.all(_LOCK_ORDER, {"id": order.id})
    values = {"order_id": order.id, "due_on": due_on, "n": order.n, "outcome": outcome}
    return await tx.one(_NOTE_RUN, values | {"payment_id": payment_id, "action_id": action_id, "reason": reason}) is not None


async def runs(tx: ReadTx, order_id: int, *, limit: int = 50) -> list[Run]:
    """The days on which an order was carried out, newest first."""
    return await tx.all(_RUNS, {"order_id": order_id, "limit": limit})


async def newest_runs(tx: ReadTx, order_ids: Sequence[int], *, limit: int = 10) -> dict[int, list[Run]]:
    """The days on which orders were carried out last, newest first, by order."""
    found: dict[int, list[Run]] = {id: [] for id in order_ids}
    for row in await tx.all(_NEWEST_RUNS, {"order_ids": list(order_ids), "limit": limit}):
        found[row.order_id].append(Run(row.due_on, row.n, row.outcome, row.payment_id, row.action_id, row.reason, row.at))
    return found


async def _say(tx: Tx, order_id: int, name: str, terms: Terms, *, by: str, maker: Principal | None, since: date | None) -> Plan:
    behind = [] if maker is None else [one for one in (maker.owner, maker.on_behalf_of) if one is not None]
    n = await tx.single(
        _ADD_TERM,
        {
            "order_id": order_id,
            "nostro": terms.nostro,
            "to_name": terms.to_name,
            "to_bank": terms.to_bank,
            "to_account": terms.to_account,
            "amount": terms.amount,
            "purpose": terms.purpose,
            "first_on": terms.first_on,
            "every": terms.every,
            "status": terms.status,
            "by": by,
            "roles": None if maker is None else sorted(maker.roles),
            "version": None if maker is None else maker.version,
            "mandate_id": None if maker is None or maker.mandate is None else maker.mandate.id,
            "behind": behind,
            "approval_id": tx.approval,
            "since": since,
        },
    )
    await audit.append(
        tx, principal=by, verb="customers.standing_order", subject_kind="standing_order", subject_id=order_id,
        detail={"n": n, "every": terms.every, "status": terms.status},
    )  # fmt: skip
    return await plan(tx, name)


def _check(terms: Terms) -> None:
    check_text(terms.to_name, "a payee's name", 140)
    check_text(terms.to_bank, "a bank", 50)
    check_text(terms.to_account, "an account at another bank", 50)
    check_text(terms.purpose or "", "a purpose", 100)
    if not 0 < terms.amount <= MAX_MINOR:
        raise Invalid("amount_out_of_range", f"an amount is above zero, of at most {MAX_MINOR} minor units")


def _nth(first: date, every: str, k: int) -> date:
    if every == "week":
        return first + timedelta(weeks=k)
    month = first.month - 1 + k
    year, month = first.year + month // 12, month % 12 + 1
    return date(year, month, min(first.day, calendar.monthrange(year, month)[1]))


def _scrypt(secret: str, salt: bytes) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, n=_SCRYPT["n"], r=_SCRYPT["r"], p=_SCRYPT["p"], dklen=_SCRYPT["dklen"])
