"""Everything but the transactions: clients, accounts, who may use which, standing orders. Read whole, checked, then added."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tallystick import customers, ledger
from tallystick.cli.berka import reader, store
from tallystick.cli.berka.codes import COUNTER_ACCOUNTS
from tallystick.cli.berka.lines import Malformed
from tallystick.cli.berka.model import CZK, Client, Order, Place, Problem, Problems, Right
from tallystick.db import Database, Tx

T = TypeVar("T")
_CHUNK = 5_000
_BY = "import:berka"


@dataclass(slots=True)
class Bank:
    """What the small files say; each right and order with the place that it stands in."""

    accounts: set[int] = field(default_factory=set)
    lists_accounts: bool = False
    clients: dict[int, Client] = field(default_factory=dict)
    regions: dict[int, str] = field(default_factory=dict)
    rights: list[tuple[Place, Right]] = field(default_factory=list)
    orders: list[tuple[Place, Order]] = field(default_factory=list)


def read(files: reader.Files, problems: Problems) -> Bank:
    """Read the small files and check each by itself; what is wrong goes to `problems`."""
    bank = Bank(lists_accounts=bool(files.accounts))
    for where, district in _rows(files.districts, reader.districts, problems):
        _new(where, district.district_id, bank.regions, problems)
        bank.regions[district.district_id] = district.region
    for where, account in _rows(files.accounts, reader.accounts, problems):
        _new(where, account.account_id, bank.accounts, problems)
        bank.accounts.add(account.account_id)
    for where, client in _rows(files.clients, reader.clients, problems):
        _new(where, client.client_id, bank.clients, problems)
        if files.districts and client.district_id not in bank.regions:
            problems.add(where.problem(f"unknown district {client.district_id}"))
        bank.clients[client.client_id] = client
    _read_rights(files.dispositions, bank, problems)
    order_ids: set[int] = set()
    for where, order in _rows(files.orders, reader.orders, problems):
        _new(where, order.order_id, order_ids, problems)
        order_ids.add(order.order_id)
        bank.orders.append((where, order))
    return bank


async def check_references(database: Database, bank: Bank, problems: Problems) -> None:
    """Every right and standing order must be of an account, and of a client, that a file names or that is there already."""
    wanted_accounts = {right.account_id for _, right in bank.rights} | {order.account_id for _, order in bank.orders}
    wanted_clients = {right.client_id for _, right in bank.rights}
    absent_accounts = sorted(wanted_accounts - bank.accounts)
    absent_clients = sorted(wanted_clients - bank.clients.keys())
    async with database.read() as tx:
        states = await store.account_states(tx, [store.account_name(number) for number in absent_accounts])
        known_accounts = {state.name for state in states}
        known_clients = set(await store.known_customers(tx, [store.client_name(number) for number in absent_clients]))
    # Without a list of accounts, those that are named elsewhere are the list.
    unknown_accounts = {
        number for number in absent_accounts if bank.lists_accounts and store.account_name(number) not in known_accounts
    }
    unknown_clients = {number for number in absent_clients if store.client_name(number) not in known_clients}
    for where, right in bank.rights:
        if right.client_id in unknown_clients:
            problems.add(where.problem(f"unknown client {right.client_id}"))
    for where, account_id in [(w, right.account_id) for w, right in bank.rights] + [(w, o.account_id) for w, o in bank.orders]:
        if account_id in unknown_accounts:
            problems.add(where.problem(f"unknown account {account_id}"))


async def add(tx: Tx, bank: Bank, touched: Set[int], floors: Mapping[int, int]) -> dict[int, int]:
    """Open the accounts, let them go down to `floors`, and add all else; the ledger's ids of the source's accounts.

    `touched` are the accounts that have rows, `floors` are below zero, in haler. What is there already stays, and must not
    say otherwise (`Conflict`).
    """
    named = {right.account_id for _, right in bank.rights} | {order.account_id for _, order in bank.orders}
    numbers = sorted(bank.accounts | named | touched)
    ids: dict[int, int] = {}
    for chunk in _chunks(numbers):
        opened = await ledger.open_accounts(tx, [ledger.AccountSpec(store.account_name(number), CZK.code) for number in chunk])
        ids.update(zip(chunk, (account.id for account in opened), strict=True))
    await ledger.lower_floors(tx, [(ids[number], floor) for number, floor in sorted(floors.items())])
    await _add_people(tx, bank, ids)
    for chunk_of_orders in _chunks(bank.orders):
        await customers.add_standing_orders(
            tx, [_standing_order(order, ids[order.account_id]) for _, order in chunk_of_orders], by=_BY
        )
    return ids


async def open_counter_accounts(tx: Tx) -> dict[str, int]:
    """Open the bank's own accounts, which stand on the other side of each row; their ids by name."""
    specs = [ledger.AccountSpec(name, CZK.code, "internal", None) for name in COUNTER_ACCOUNTS]
    opened = await ledger.open_accounts(tx, specs)
    return dict(zip(COUNTER_ACCOUNTS, (account.id for account in opened), strict=True))


async def _add_people(tx: Tx, bank: Bank, account_ids: dict[int, int]) -> None:
    client_ids: dict[int, int] = {}
    for chunk in _chunks(list(bank.clients.values())):
        added = await customers.add(tx, [_customer(client, bank.regions.get(client.district_id)) for client in chunk], by=_BY)
        client_ids.update(zip((client.client_id for client in chunk), (customer.id for customer in added), strict=True))
    for absent in sorted({right.client_id for _, right in bank.rights} - client_ids.keys()):
        client_ids[absent] = (await customers.get(tx, store.client_name(absent))).id
    rights = [right for _, right in bank.rights]
    for chunk_of_rights in _chunks(rights):
        dispositions = [
            customers.Disposition(client_ids[right.client_id], account_ids[right.account_id], right.role)
            for right in chunk_of_rights
        ]
        await customers.add_dispositions(tx, dispositions, by=_BY)


def _customer(client: Client, region: str | None) -> customers.NewCustomer:
    return customers.NewCustomer(
        store.client_name(client.client_id), birth_date=client.birth_date, sex=client.sex, region=region
    )


def _standing_order(order: Order, account_id: int) -> customers.NewStandingOrder:
    return customers.NewStandingOrder(
        f"berka-order-{order.order_id}",
        account_id,
        to_bank=order.to_bank,
        to_account=order.to_account,
        amount=order.amount,
        asset=CZK.code,
        purpose=order.purpose or None,
    )


def _read_rights(paths: Iterable[Path], bank: Bank, problems: Problems) -> None:
    pairs: set[tuple[int, int]] = set()
    owned: set[int] = set()
    for where, right in _rows(paths, reader.dispositions, problems):
        if (right.client_id, right.account_id) in pairs:
            problems.add(where.problem(f"client {right.client_id} has account {right.account_id} twice"))
        if right.role == "owner" and right.account_id in owned:
            problems.add(where.problem(f"account {right.account_id} has a second owner"))
        pairs.add((right.client_id, right.account_id))
        if right.role == "owner":
            owned.add(right.account_id)
        bank.rights.append((where, right))


def _rows(
    paths: Iterable[Path], parse: Callable[[Path], Iterator[tuple[int, T] | Malformed]], problems: Problems
) -> Iterator[tuple[Place, T]]:
    """The good rows of some files, each with its place; the faults go to `problems`."""
    for path in paths:
        for found in parse(path):
            if isinstance(found, Malformed):
                problems.add(Problem(path.name, found.line, found.reason))
            else:
                line, row = found
                yield Place(path.name, line), row


def _new(where: Place, number: int, known: Container[int], problems: Problems) -> None:
    if number in known:
        problems.add(where.problem(f"number {number} stands twice"))


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
