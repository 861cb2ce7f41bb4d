"""One function a query of the customers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tallystick.customers.model import Customer, Disposition, NewCustomer, NewStandingOrder, StandingOrder
from tallystick.db import Queries, ReadTx, Tx


@dataclass(frozen=True, slots=True)
class OwnerName:
    """An account and what the bank calls its owner."""

    account_id: int
    name: str


_queries = Queries(__package__)
_INSERT_CUSTOMERS = _queries.bind("insert_customers", int)
_CUSTOMERS_BY_NAME = _queries.bind("customers_by_name", Customer)
_CUSTOMERS_AFTER = _queries.bind("customers_after", Customer)
_INSERT_DISPOSITIONS = _queries.bind("insert_dispositions", int)
_MISSING_DISPOSITIONS = _queries.bind("missing_dispositions", int)
_OWNER_NAMES = _queries.bind("owner_names", OwnerName)
_OWNERS = _queries.bind("owners", int)
_ACCOUNTS_OF = _queries.bind("accounts_of", int)
_INSERT_STANDING_ORDERS = _queries.bind("insert_standing_orders", int)
_STANDING_ORDERS_BY_NAME = _queries.bind("standing_orders_by_name", StandingOrder)
_STANDING_ORDERS_OF = _queries.bind("standing_orders_of", StandingOrder)


async def insert_customers(tx: Tx, customers: Sequence[NewCustomer]) -> list[int]:
    return await tx.all(
        _INSERT_CUSTOMERS,
        {
            "names": [customer.name for customer in customers],
            "full_names": [customer.full_name for customer in customers],
            "birth_dates": [customer.birth_date for customer in customers],
            "sexes": [customer.sex for customer in customers],
            "regions": [customer.region for customer in customers],
        },
    )


async def customers_by_name(tx: ReadTx, names: Sequence[str]) -> list[Customer]:
    return await tx.all(_CUSTOMERS_BY_NAME, {"names": list(names)})


async def customers_after(tx: ReadTx, *, after: int, limit: int, ids: Sequence[int] | None) -> list[Customer]:
    return await tx.all(_CUSTOMERS_AFTER, {"after": after, "limit": limit, "ids": None if ids is None else list(ids)})


async def insert_dispositions(tx: Tx, dispositions: Sequence[Disposition]) -> list[int]:
    return await tx.all(_INSERT_DISPOSITIONS, _columns(dispositions))


async def missing_dispositions(tx: ReadTx, dispositions: Sequence[Disposition]) -> list[int]:
    return await tx.all(_MISSING_DISPOSITIONS, _columns(dispositions))


async def owner_names(tx: ReadTx, account_ids: Sequence[int]) -> list[OwnerName]:
    return await tx.all(_OWNER_NAMES, {"account_ids": list(account_ids)})


async def owners(tx: ReadTx, account_ids: Sequence[int]) -> list[int]:
    return await tx.all(_OWNERS, {"account_ids": list(account_ids)})


async def accounts_of(tx: ReadTx, customer_id: int) -> list[int]:
    return await tx.all(_ACCOUNTS_OF, {"customer_id": customer_id})


async def insert_standing_orders(tx: Tx, orders: Sequence[NewStandingOrder]) -> list[int]:
    return await tx.all(
        _INSERT_STANDING_ORDERS,
        {
            "names": [order.name for order in orders],
            "account_ids": [order.account_id for order in orders],
            "to_banks": [order.to_bank for order in orders],
            "to_accounts": [order.to_account for order in orders],
            "amounts": [order.amount for order in orders],
            "assets": [order.asset for order in orders],
            "purposes": [order.purpose for order in orders],
        },
    )


async def standing_orders_by_name(tx: ReadTx, names: Sequence[str]) -> list[StandingOrder]:
    return await tx.all(_STANDING_ORDERS_BY_NAME, {"names": list(names)})


async def standing_orders_of(tx: ReadTx, account_id: int) -> list[StandingOrder]:
    return await tx.all(_STANDING_ORDERS_OF, {"account_id": account_id})


def _columns(dispositions: Sequence[Disposition]) -> dict[str, object]:
    return {
        "customer_ids": [disposition.customer_id for disposition in dispositions],
        "account_ids": [disposition.account_id for disposition in dispositions],
        "roles": [disposition.role for disposition in dispositions],
    }
