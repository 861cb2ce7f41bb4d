"""The second pass posts each row as a balanced journal, the third compares the books with the source, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from tallystick import actions, ledger
from tallystick.cli.berka import store
from tallystick.cli.berka.codes import CODES, ROUNDING_ACCOUNT
from tallystick.cli.berka.model import Ordered, Row, midnight
from tallystick.cli.berka.plan import Plan, meta_of
from tallystick.cli.berka.progress import Watcher
from tallystick.db import Database, ReadTx, Tx
from tallystick.identity import house
from tallystick.kit import Conflict

BATCH = 1_000
KIND = "berka-transaction"
_COMPARED = 5_000
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Accounts:
    """The ledger's ids: of the source's accounts by their numbers, and of the bank's own by their names."""

    customers: Mapping[int, int]
    bank: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Compared:
    """How many rows were compared and how many differ; `shown` has the first of those."""

    rows: int
    differing: int
    shown: tuple[store.Difference, ...]


async def post(database: Database, plan: Plan, accounts: Accounts, watcher: Watcher, *, batch: int) -> int:
    """Post what is not in the books yet, a batch a transaction; the number of journals that are new.

    Each journal has its row's key, so one that another run has posted meanwhile is not posted again. Refuses with `Conflict`
    (`row_refused`) where the ledger refuses a row, as for a closed account; the batches before stay.
    """
    watcher.begin("posting", plan.rows.rows - plan.known)
    posted = 0
    for rows in _batches((ordered for ordered in plan.rows if not ordered.known), batch):
        journals = [journal(ordered, accounts) for ordered in rows]

        async def work(tx: Tx, journals: Sequence[ledger.Journal] = journals) -> int:
            actions.passed(await actions.enter(tx, house(store.ACTOR), actions.ImportBooks("berka")))
            return _new(await ledger.post(tx, journals), journals)

        posted += await database.retrying(work)
        watcher.advance(len(rows))
    return posted


def journal(ordered: Ordered, accounts: Accounts) -> ledger.Journal:
    """A row as a journal: between the customer's account and the bank's own, and a rounding visibly on an account of its own.

    The books know no entry of nothing, so a row of 0.00 is posted as 0.01 and back.
    """
    row, rounding, _ = ordered
    customer = accounts.customers[row.account_id]
    entries: list[tuple[int, int]] = []
    if row.amount:
        entries += [(customer, row.amount), (accounts.bank[CODES[row.code].counter_account], -row.amount)]
    if rounding:
        entries += [(customer, rounding), (accounts.bank[ROUNDING_ACCOUNT], -rounding)]
    return ledger.Journal(
        KIND,
        entries or [(customer, 1), (customer, -1)],
        store.ACTOR,
        key=store.key(row.trans_id),
        ref_id=row.trans_id,
        effective_at=midnight(row.day),
        meta=meta_of(row),
    )


async def compare(database: Database, plan: Plan, accounts: Accounts, watcher: Watcher) -> Compared:
    """Compare, in the database, the balance that each row's journal left with the source's own column."""
    watcher.begin("comparing", plan.rows.rows)
    rows = differing = 0
    shown: list[store.Difference] = []
    for batch in _batches(plan.rows, _COMPARED):
        async with database.read() as tx:
            differences = await _differences(tx, [ordered.row for ordered in batch], accounts)
        rows += len(batch)
        differing += len(differences)
        shown += differences[: _SHOWN - len(shown)]
        watcher.advance(len(batch))
    return Compared(rows, differing, tuple(shown))


async def _differences(tx: ReadTx, rows: Sequence[Row], accounts: Accounts) -> list[store.Difference]:
    return await store.differing(
        tx,
        trans_ids=[row.trans_id for row in rows],
        account_ids=[accounts.customers[row.account_id] for row in rows],
        balances=[row.balance for row in rows],
    )


def _new(answers: Sequence[ledger.Posted], journals: Sequence[ledger.Journal]) -> int:
    for answer, asked in zip(answers, journals, strict=True):
        if answer.refusal is not None:
            # Raised inside the transaction: a refusal that were remembered would stand in the way of the next run.
            raise Conflict("row_refused", f"the ledger refuses {asked.key}: {answer.refusal}")
    return sum(not answer.replayed for answer in answers)


def _batches(rows: Iterable[Ordered], size: int) -> Iterator[list[Ordered]]:
    left = iter(rows)
    while batch := list(islice(left, size)):
        yield batch
