"""One function a query of the import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tallystick.cli.berka.codes import ROUNDING_ACCOUNT
from tallystick.db import Queries, ReadTx

ACTOR = "import:berka"
"""Who posts the source's rows, and so the scope of their keys."""


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account as the books have it; who posted to it last, and for which time, are `None` where nobody has."""

    name: str
    posted: int
    seq: int
    last_actor: str | None
    last_effective_at: datetime | None


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """A row that is in the books: `total` is the customer's, in haler, `rounding` the part of it that was rounding.

    `meta` is JSON, as text: few journals differ in it, so it is not parsed for each."""

    trans_id: int
    account: str | None
    total: int
    rounding: int
    effective_at: datetime
    meta: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A row whose balance in the books is not the source's; `balance` is `None` where the row is not in the books."""

    trans_id: int
    wanted: int
    balance: int | None


_queries = Queries(__package__)
_ANY_IMPORTED = _queries.bind("any_imported", bool)
_ACCOUNT_STATES = _queries.bind("account_states", AccountState)
_IMPORTED_ROWS = _queries.bind("imported_rows", ImportedRow)
_DIFFERING = _queries.bind("differing", Difference)
_KNOWN_CUSTOMERS = _queries.bind("known_customers", str)


def account_name(account_id: int) -> str:
    """What the ledger calls an account of the source."""
    return f"berka-{account_id}"


def client_name(client_id: int) -> str:
    """What we call a client of the source."""
    return f"berka-client-{client_id}"


def key(trans_id: int) -> str:
    """The idempotency key of a row's journal."""
    return f"berka:trans:{trans_id}"


async def any_imported(tx: ReadTx) -> bool:
    return await tx.single(_ANY_IMPORTED, {"scope": ACTOR})


async def account_states(tx: ReadTx, names: Sequence[str]) -> list[AccountState]:
    return await tx.all(_ACCOUNT_STATES, {"names": list(names)})


async def imported_rows(tx: ReadTx, trans_ids: Sequence[int]) -> list[ImportedRow]:
    parameters = {
        "scope": ACTOR,
        "rounding_account": ROUNDING_ACCOUNT,
        "trans_ids": list(trans_ids),
        "keys": [key(trans_id) for trans_id in trans_ids],
    }
    return await tx.all(_IMPORTED_ROWS, parameters)


async def differing(
    tx: ReadTx, *, trans_ids: Sequence[int], account_ids: Sequence[int], balances: Sequence[int]
) -> list[Difference]:
    parameters = {
        "scope": ACTOR,
        "trans_ids": list(trans_ids),
        "keys": [key(trans_id) for trans_id in trans_ids],
        "account_ids": list(account_ids),
        "balances": list(balances),
    }
    return await tx.all(_DIFFERING, parameters)


async def known_customers(tx: ReadTx, names: Sequence[str]) -> list[str]:
    return await tx.all(_KNOWN_CUSTOMERS, {"names": list(names)})
