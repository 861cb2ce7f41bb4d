"""Customers, who may use which account, and standing orders: added once however often they are added."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date

import pytest

from tallystick import customers, ledger
from tallystick.customers import Disposition, NewCustomer, NewStandingOrder
from tallystick.db import Database
from tallystick.kit import Conflict, Invalid, NotFound

ANNA = NewCustomer("CUST-1", "Anna Novak", date(1970, 12, 13), "F", "Prague")
BORIS = NewCustomer("CUST-2")


async def _accounts(db: Database, *names: str) -> list[int]:
    async with db.write() as tx:
        return [opened.id for opened in await ledger.open_accounts(tx, [ledger.AccountSpec(name, "CZK") for name in names])]


async def test_customers_come_back_in_the_order_they_were_given_and_once(db: Database) -> None:
    async with db.write() as tx:
        boris, anna = await customers.add(tx, [BORIS, ANNA], by="me")
        again = await customers.add(tx, [ANNA, BORIS, ANNA], by="me")
        known = await customers.get(tx, "CUST-1")
    assert (anna.name, anna.full_name, anna.birth_date, anna.sex, anna.region) == (
        ("CUST-1", "Anna Novak", date(1970, 12, 13), "F", "Prague")
    )
    assert again == [anna, boris, anna]
    assert known == anna
    assert boris.full_name is None


async def test_a_customer_of_the_same_name_and_another_birthday_is_refused(db: Database) -> None:
    async with db.write() as tx:
        await customers.add(tx, [ANNA], by="me")
    with pytest.raises(Conflict) as refusal:
        async with db.write() as tx:
            await customers.add(tx, [BORIS, replace(ANNA, birth_date=date(1980, 1, 1))], by="me")
    assert refusal.value.code == "customer_exists"
    assert "1980" not in refusal.value.detail
    with pytest.raises(NotFound):
        async with db.read() as read:
            await customers.get(read, "CUST-2")


async def test_what_is_not_known_contradicts_nothing_and_changes_nothing(db: Database) -> None:
    async with db.write() as tx:
        (anna,) = await customers.add(tx, [ANNA], by="me")
        assert await customers.add(tx, [NewCustomer("CUST-1")], by="me") == [anna]


async def test_an_unknown_customer_is_not_found(db: Database) -> None:
    async with db.read() as tx:
        with pytest.raises(NotFound) as refusal:
            await customers.get(tx, "CUST-9")
    assert refusal.value.code == "unknown_customer"


@pytest.mark.parametrize(
    "customer", [NewCustomer(""), NewCustomer("a b"), NewCustomer("a", "x" * 201), NewCustomer("a", "\x00")]
)
async def test_a_customer_that_cannot_be_stored_is_refused(db: Database, customer: NewCustomer) -> None:
    async with db.write() as tx:
        with pytest.raises(Invalid):
            await customers.add(tx, [customer], by="me")


async def test_pages_follow_each_other_and_end(db: Database) -> None:
    async with db.write() as tx:
        added = await customers.add(tx, [NewCustomer(f"CUST-{number}") for number in range(5)], by="me")
        first = await customers.page(tx, limit=3)
        second = await customers.page(tx, after=first[-1].id, limit=3)
        third = await customers.page(tx, after=second[-1].id, limit=3)
    assert sorted(added, key=lambda customer: customer.id) == first + second
    assert third == []


async def test_owners_are_named_by_account_and_users_are_not(db: Database) -> None:
    one, two, three = await _accounts(db, "one", "two", "three")
    async with db.write() as tx:
        anna, boris = await customers.add(tx, [ANNA, BORIS], by="me")
        wanted = [
            Disposition(anna.id, one, "owner"),
            Disposition(boris.id, one, "user"),
            Disposition(boris.id, two, "owner"),
        ]
        assert await customers.add_dispositions(tx, wanted, by="me") == 3
        assert await customers.add_dispositions(tx, wanted, by="me") == 0
        assert await customers.owner_names(tx, [one, two, three]) == {one: "CUST-1", two: "CUST-2"}
        assert await customers.owner_names(tx, []) == {}
        assert await customers.accounts_of(tx, boris.id) == [one, two]
        assert await customers.accounts_of(tx, 10**9) == []


@pytest.mark.parametrize("role", ["owner", "user"])
async def test_a_second_owner_and_a_second_role_are_refused(db: Database, role: customers.Role) -> None:
    (account,) = await _accounts(db, "one")
    async with db.write() as tx:
        anna, boris = await customers.add(tx, [ANNA, BORIS], by="me")
        await customers.add_dispositions(tx, [Disposition(anna.id, account, "owner")], by="me")
    who = boris.id if role == "owner" else anna.id
    with pytest.raises(Conflict) as refusal:
        async with db.write() as tx:
            await customers.add_dispositions(tx, [Disposition(who, account, role)], by="me")
    assert refusal.value.code == "disposition_exists"


async def test_standing_orders_are_added_once_and_never_change(db: Database) -> None:
    (account,) = await _accounts(db, "one")
    order = NewStandingOrder("order-1", account, "YZ", "87144583", 245200, "CZK", "SIPO")
    async with db.write() as tx:
        assert await customers.add_standing_orders(tx, [order, order], by="me") == 1
        assert await customers.add_standing_orders(tx, [order], by="me") == 0
        (stored,) = await customers.standing_orders(tx, account)
    assert (stored.name, stored.account_id, stored.to_bank, stored.to_account) == ("order-1", account, "YZ", "87144583")
    assert (stored.amount, stored.asset, stored.purpose) == (245200, "CZK", "SIPO")
    with pytest.raises(Conflict) as refusal:
        async with db.write() as tx:
            await customers.add_standing_orders(tx, [replace(order, amount=1)], by="me")
    assert refusal.value.code == "standing_order_exists"
    async with db.write() as tx:
        with pytest.raises(Invalid):
            await customers.add_standing_orders(tx, [replace(order, name="order-2", amount=0)], by="me")


async def test_two_calls_that_add_the_same_customers_at_once_both_find_them(db: Database) -> None:
    batch = [NewCustomer(f"CUST-{number}") for number in range(200)]

    async def add(some: list[NewCustomer]) -> dict[str, int]:
        async with db.write() as tx:
            return {customer.name: customer.id for customer in await customers.add(tx, some, by="me")}

    one, two = await asyncio.gather(add(batch), add(batch[::-1]))
    assert one == two
