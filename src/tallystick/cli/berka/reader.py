"""Each kind of file, row by row. Nothing is kept, and whatever is malformed comes out in its place as a fault.

The original files are `.asc.gz` (Czech words, quoted, CRLF), translated ones `.csv.gz`; both are read alike, and a word may be
in either language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tallystick.cli.berka import fields
from tallystick.cli.berka.codes import CODES, K_SYMBOLS, place_of
from tallystick.cli.berka.lines import Malformed, table
from tallystick.cli.berka.model import AccountRow, Client, District, Order, Right, Row
from tallystick.customers import Role
from tallystick.kit import Invalid

T = TypeVar("T")

TRANSACTION = ("trans_id", "account_id", "date", "type", "operation", "amount", "balance", "k_symbol", "bank", "account")
ACCOUNT = ("account_id", "district_id", "frequency", "date")
CLIENT = ("client_id", "birth_number", "district_id")
DISPOSITION = ("disp_id", "client_id", "account_id", "type")
ORDER = ("order_id", "account_id", "bank_to", "account_to", "amount", "k_symbol")
DISTRICT = tuple(f"A{number}" for number in range(1, 17))

_ROLES: dict[str, Role] = {"OWNER": "owner", "DISPONENT": "user"}
_ENDINGS = (".asc.gz", ".csv.gz")


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one folder by kind, each in the order of its names."""

    accounts: tuple[Path, ...]
    clients: tuple[Path, ...]
    dispositions: tuple[Path, ...]
    orders: tuple[Path, ...]
    districts: tuple[Path, ...]
    transactions: tuple[Path, ...]

    def __iter__(self) -> Iterator[Path]:
        for group in (self.districts, self.accounts, self.clients, self.dispositions, self.orders, self.transactions):
            yield from group


def find(directory: Path) -> Files:
    """The files of `directory` that are read; refuses with `Invalid` (`nothing_to_import`) where there are none."""
    if not directory.is_dir():
        raise Invalid("nothing_to_import", f"{directory} is not a folder")
    names = sorted(path for path in directory.iterdir() if path.name.endswith(_ENDINGS) and path.is_file())

    def called(name: str) -> tuple[Path, ...]:
        return tuple(path for path in names if path.name in (name + ending for ending in _ENDINGS))

    files = Files(
        accounts=called("account"),
        clients=called("client"),
        dispositions=called("disp"),
        orders=called("order"),
        districts=called("district"),
        transactions=tuple(path for path in names if path.name.startswith("trans_")),
    )
    if not any(files):
        raise Invalid(
            "nothing_to_import", f"{directory} holds none of the bank's files, such as account.asc.gz or trans_*.asc.gz"
        )
    return files


def transactions(path: Path, file: int) -> Iterator[Row | Malformed]:
    """The rows of a `trans_*` file, which is number `file`."""
    known: dict[tuple[str, str, str], int] = {}
    for found in table(path, TRANSACTION):
        if isinstance(found, Malformed):
            yield found
            continue
        line, (trans_id, account_id, date, kind, operation, amount, balance, k_symbol, bank, account) = found
        try:
            words = (kind, operation, k_symbol)
            code = known.get(words)
            if code is None:
                code = known[words] = place_of(*words)
            fields.digits(account)
            yield Row(
                fields.identity(account_id, "account_id", fields.MAX_ACCOUNT_ID),
                fields.day(date),
                fields.identity(trans_id, "trans_id"),
                CODES[code].sign * fields.positive(amount, "amount"),
                fields.money(balance, "balance"),
                code,
                fields.bank(bank),
                file,
                line,
            )
        except ValueError as error:
            yield Malformed(line, str(error), fields=(trans_id, account_id))


def accounts(path: Path) -> Iterator[tuple[int, AccountRow] | Malformed]:
    """The rows of an `account` file, with their lines."""

    def account(row: list[str]) -> AccountRow:
        fields.identity(row[1], "district_id")
        fields.calendar_date(row[3])
        return AccountRow(fields.identity(row[0], "account_id", fields.MAX_ACCOUNT_ID))

    return _parsed(path, ACCOUNT, account)


def clients(path: Path) -> Iterator[tuple[int, Client] | Malformed]:
    """The rows of a `client` file, with their lines."""

    def client(row: list[str]) -> Client:
        born, sex = fields.birth(row[1])
        return Client(fields.identity(row[0], "client_id"), born, sex, fields.identity(row[2], "district_id"))

    return _parsed(path, CLIENT, client)


def dispositions(path: Path) -> Iterator[tuple[int, Right] | Malformed]:
    """The rows of a `disp` file, with their lines."""

    def right(row: list[str]) -> Right:
        fields.identity(row[0], "disp_id")
        role = _ROLES.get(row[3].upper())
        if role is None:
            raise ValueError(f"unknown type {row[3][:40]!r}")
        account_id = fields.identity(row[2], "account_id", fields.MAX_ACCOUNT_ID)
        return Right(fields.identity(row[1], "client_id"), account_id, role)

    return _parsed(path, DISPOSITION, right)


def orders(path: Path) -> Iterator[tuple[int, Order] | Malformed]:
    """The rows of an `order` file (standing orders), with their lines."""

    def order(row: list[str]) -> Order:
        amount = fields.positive(row[4], "amount")
        if amount == 0:
            raise ValueError("a standing order over nothing")
        if row[5] not in K_SYMBOLS:
            raise ValueError(f"unknown k_symbol {row[5][:40]!r}")
        account_id = fields.identity(row[1], "account_id", fields.MAX_ACCOUNT_ID)
        order_id = fields.identity(row[0], "order_id")
        return Order(order_id, account_id, fields.bank(row[2]), fields.digits(row[3]), amount, K_SYMBOLS[row[5]])

    return _parsed(path, ORDER, order)


def districts(path: Path) -> Iterator[tuple[int, District] | Malformed]:
    """The rows of a `district` file, with their lines: only the number and the region are of use."""

    def district(row: list[str]) -> District:
        if not 0 < len(row[2]) <= 100 or "\x00" in row[2]:
            raise ValueError("the region is empty or too long")
        return District(fields.identity(row[0], "A1"), row[2])

    return _parsed(path, DISTRICT, district)


def _parsed(path: Path, columns: tuple[str, ...], parse: Callable[[list[str]], T]) -> Iterator[tuple[int, T] | Malformed]:
    for found in table(path, columns):
        if isinstance(found, Malformed):
            yield found
            continue
        line, row = found
        try:
            yield line, parse(row)
        except ValueError as error:
            yield Malformed(line, str(error))
