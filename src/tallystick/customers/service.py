"""The verbs of the customers."""

from __future__ import annotations

from collections.abc import Sequence

from tallystick import audit
from tallystick.customers import store
from tallystick.customers.model import Customer, Disposition, NewCustomer, NewStandingOrder, StandingOrder
from tallystick.db import ReadTx, Tx
from tallystick.kit import MAX_MINOR, Conflict, Invalid, NotFound, check_name, check_text

_LISTED = 200
_FACTS = ("full_name", "birth_date", "sex", "region")
_ORDER_FACTS = ("account_id", "to_bank", "to_account", "amount", "asset", "purpose")


async def add(tx: Tx, customers: Sequence[NewCustomer], *, by: str) -> list[Customer]:
    """Add customers, or find those that exist under the name; one answer each, in order.

    One who exists stays as they are. What is `None`, given or stored, is not known and contradicts nothing; refuses with
    `Conflict` (`customer_exists`) where two known facts differ, and adds nobody then.
    """
    for customer in customers:
        check_name(customer.name, "a customer's name")
        _check_optional(customer.full_name, "a full name", 200)
        _check_optional(customer.region, "a region", 100)
    if not customers:
        return []
    added = await store.insert_customers(tx, customers)
    known = {customer.name: customer for customer in await store.customers_by_name(tx, [c.name for c in customers])}
    for customer in customers:
        if any(_differ(getattr(customer, fact), getattr(known[customer.name], fact)) for fact in _FACTS):
            raise Conflict("customer_exists", f"{customer.name} exists, and is another customer")
    await _tell(tx, by, "customers.add", "customer", added)
    return [known[customer.name] for customer in customers]


async def get(tx: ReadTx, name: str) -> Customer:
    """The customer of that name; refuses with `NotFound` (`unknown_customer`)."""
    found = await store.customers_by_name(tx, [name])
    if not found:
        raise NotFound("unknown_customer", f"there is no customer {name}")
    return found[0]


async def page(tx: ReadTx, *, after: int = 0, limit: int = 50, ids: Sequence[int] | None = None) -> list[Customer]:
    """A page of customers in id order, beginning after the id `after`; among `ids` where given."""
    return await store.customers_after(tx, after=after, limit=limit, ids=ids)


async def add_dispositions(tx: Tx, dispositions: Sequence[Disposition], *, by: str) -> int:
    """Let customers use accounts; the number of dispositions that are new. The customers and the accounts must exist.

    Refuses with `Conflict` (`disposition_exists`) where the customer has the account in another role, or the account has
    another owner.
    """
    if not dispositions:
        return 0
    added = await store.insert_dispositions(tx, dispositions)
    missing = await store.missing_dispositions(tx, dispositions)
    if missing:
        raise Conflict("disposition_exists", f"account {missing[0]} has another owner, or the customer another role in it")
    await _tell(tx, by, "customers.add_dispositions", "disposition", added)
    return len(added)


async def owner_names(tx: ReadTx, account_ids: Sequence[int]) -> dict[int, str]:
    """What the bank calls the owner of each account; accounts without an owner are left out."""
    if not account_ids:
        return {}
    return {owner.account_id: owner.name for owner in await store.owner_names(tx, account_ids)}


async def owners(tx: ReadTx, account_ids: Sequence[int]) -> list[int]:
    """The ids of the customers who own some of these accounts."""
    return await store.owners(tx, account_ids)


async def accounts_of(tx: ReadTx, customer_id: int) -> list[int]:
    """The ids of the accounts that a customer may use, as owner or otherwise, in id order."""
    return await store.accounts_of(tx, customer_id)


async def add_standing_orders(tx: Tx, orders: Sequence[NewStandingOrder], *, by: str) -> int:
    """Add standing orders, or find those that exist under the name; the number of those that are new.

    Refuses with `Conflict` (`standing_order_exists`) where one of that name says something else. The accounts must exist.
    """
    for order in orders:
        _check_order(order)
    if not orders:
        return 0
    added = await store.insert_standing_orders(tx, orders)
    known = {order.name: order for order in await store.standing_orders_by_name(tx, [order.name for order in orders])}
    for order in orders:
        if any(getattr(order, fact) != getattr(known[order.name], fact) for fact in _ORDER_FACTS):
            raise Conflict("standing_order_exists", f"{order.name} exists, and is another standing order")
    await _tell(tx, by, "customers.add_standing_orders", "standing_order", added)
    return len(added)


async def standing_orders(tx: ReadTx, account_id: int) -> list[StandingOrder]:
    """The standing orders of an account, in id order."""
    return await store.standing_orders_of(tx, account_id)


async def _tell(tx: Tx, by: str, verb: str, kind: str, added: Sequence[int]) -> None:
    """One event for all that a call added, if anything."""
    if added:
        detail = {"added": [str(each) for each in sorted(added)[:_LISTED]], "count": len(added)}
        await audit.append(tx, principal=by, verb=verb, subject_kind=kind, subject_id=min(added), detail=detail)


def _check_order(order: NewStandingOrder) -> None:
    check_name(order.name, "a standing order's name")
    check_text(order.to_bank, "a bank", 50)
    check_text(order.to_account, "an account at another bank", 50)
    _check_optional(order.purpose, "a purpose", 100)
    if not 0 < order.amount <= MAX_MINOR:
        raise Invalid("amount_out_of_range", f"{order.name} needs an amount above zero, of at most {MAX_MINOR} minor units")


def _check_optional(value: str | None, what: str, max_length: int) -> None:
    if value is not None:
        check_text(value, what, max_length)


def _differ(given: object, stored: object) -> bool:
    return given is not None and stored is not None and given != stored
