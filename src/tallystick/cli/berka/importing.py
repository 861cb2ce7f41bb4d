"""The import of a bank's books: check everything, then post, then compare every balance with the bank's own."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from pathlib import Path

from tallystick import ledger
from tallystick.cli.berka import bank as banks
from tallystick.cli.berka import plan as plans
from tallystick.cli.berka import post, reader
from tallystick.cli.berka.model import ImportRefused, Problems
from tallystick.cli.berka.progress import Quiet, Watcher
from tallystick.cli.berka.report import Reconciliation
from tallystick.db import Database, Tx


async def import_berka(
    database: Database, directory: Path, *, watcher: Watcher | None = None, batch: int = post.BATCH
) -> Reconciliation:
    """Take in the bank in `directory`: its clients, accounts, dispositions, standing orders, and each row as a journal.

    Nothing is written unless every file is sound and every account's balances follow each other: `ImportRefused` lists what is
    not. Run again, it adds what is missing; cut off at any point and run again, it ends in the same state. `watcher` is told
    how far it is, `batch` is how many journals a transaction posts. Refuses with `Invalid` (`nothing_to_import`) where the
    folder holds no such files, and with `Conflict` where the database holds something that contradicts them.
    """
    began = time.perf_counter()
    watcher = watcher or Quiet()
    problems = Problems()
    files = await asyncio.to_thread(reader.find, directory)
    bank = await asyncio.to_thread(banks.read, files, problems)
    await banks.check_references(database, bank, problems)
    with closing(await plans.stage(files.transactions, problems, watcher)) as staged:
        plan = await plans.order(database, staged, bank, paths=files.transactions, problems=problems, watcher=watcher)
    with closing(plan):
        if problems.total:
            raise ImportRefused(problems)
        watcher.begin("adding", len(bank.accounts) + len(bank.clients) + len(bank.rights) + len(bank.orders))
        accounts = await _add(database, bank, plan)
        watcher.advance(len(bank.accounts) + len(bank.clients) + len(bank.rights) + len(bank.orders))
        began_posting = time.perf_counter()
        new = await post.post(database, plan, accounts, watcher, batch=batch)
        posting_s = time.perf_counter() - began_posting
        compared = await post.compare(database, plan, accounts, watcher)
        async with database.read() as tx:
            trial_balance = [asset for asset in await ledger.trial_balance(tx) if asset.dr or asset.cr]
        return Reconciliation(
            files=len(files.transactions),
            rows=plan.rows.rows,
            journals_new=new,
            journals_before=plan.rows.rows - new,
            accounts=len(accounts.customers),
            customers=len(bank.clients),
            dispositions=len(bank.rights),
            standing_orders=len(bank.orders),
            compared=compared.rows,
            differing=compared.differing,
            differences=compared.shown,
            roundings=plan.roundings,
            floors=len(plan.floors),
            lowest_floor=min(plan.floors.values(), default=0),
            trial_balance=trial_balance,
            posting_s=posting_s,
            total_s=time.perf_counter() - began,
        )


async def _add(database: Database, bank: banks.Bank, plan: plans.Plan) -> post.Accounts:
    async def work(tx: Tx) -> post.Accounts:
        own = await banks.open_counter_accounts(tx)
        return post.Accounts(await banks.add(tx, bank, plan.accounts, plan.floors), own)

    return await database.retrying(work)
