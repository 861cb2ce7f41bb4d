"""What Tallystick is measured against: an endpoint that does nothing, and the way the guides show.

Run as `python -m bench.peers NAME PORT URL`; NAME is `empty`, `guide` or `tallystick`. Each is one process on uvicorn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import psycopg
import uvicorn
import uvloop
from fastapi import FastAPI, HTTPException
from psycopg.rows import dict_row
from pydantic import BaseModel

from tallystick import actions, http, ledger
from tallystick.db import Database, Tx
from tallystick.http.batching import Batcher
from tallystick.identity import Principal
from tallystick.kit import TallystickError, parse_minor


class Money(BaseModel):
    """An amount as Tallystick's native API takes it."""

    amount: Decimal
    currency: str


class NativeTransfer(BaseModel):
    """The body of POST /v1/transfers."""

    from_account: str
    to_account: str
    amount: Money
    settle: str = "now"
    description: str | None = None


class GuideTransfer(BaseModel):
    """The body of the guides' transfers."""

    from_account: str
    to_account: str
    amount: float


def empty() -> FastAPI:
    """FastAPI, the same body, no work."""
    app = FastAPI()

    @app.post("/v1/transfers", status_code=201)
    async def transfer(body: NativeTransfer) -> dict[str, str]:  # noqa: ARG001 - parsed like ours, then left alone
        return {"id": "1", "status": "posted"}

    return app


def guide(url: str) -> FastAPI:
    """The guides' way: a connection a request, one INSERT, a commit."""
    app = FastAPI()

    @app.post("/transfers/persisted")
    def transfer(body: GuideTransfer) -> dict[str, object]:
        if body.amount <= 0:
            raise HTTPException(400, "an amount is more than zero")
        with psycopg.connect(url, row_factory=dict_row) as connection:
            row = connection.execute(
                """insert into bench.transactions (from_account, to_account, amount, status, created_at)
                   values (%s, %s, %s, %s, %s) returning id""",
                (body.from_account, body.to_account, body.amount, "queued", datetime.now(UTC)),
            ).fetchone()
        return {"transaction_id": row["id"] if row else None, "status": "queued"}

    return app


def bare(database: Database) -> FastAPI:
    """Our server whose transfers are posted without being asked about: their journals, with the event of the record."""
    app = http.create_app(http.HttpSettings(open=True), database)
    directory = ledger.Directory()

    async def post(tx: Tx, by: Principal, new: Sequence[actions.NewTransfer]) -> list[actions.Transfer | TallystickError]:
        accounts = await directory.find(tx, {name for one in new for name in (one.from_account, one.to_account)})
        journals = [
            ledger.Journal(
                "transfer",
                ledger.transfer(
                    debit=accounts[one.from_account].id,
                    credit=accounts[one.to_account].id,
                    amount=parse_minor(one.amount, accounts[one.from_account].unit),
                ),
                by.name,
                key=one.key,
            )
            for one in new
        ]
        return [
            actions.Transfer(
                id=posted.journal_id or 0, principal=by.name, from_account=one.from_account, to_account=one.to_account,
                amount=1, asset="USD", scale=2, description=None, settle="now", status="posted", reason=posted.refusal,
                journal_id=posted.journal_id, task_id=None, created_at=posted.posted_at or datetime.now(UTC),
                settled_at=posted.posted_at,
            )
            for one, posted in zip(new, await ledger.post(tx, journals), strict=True)
        ]  # fmt: skip

    services = app.state.services
    app.state.services = replace(services, transfers=Batcher(database, post))
    return app


async def serve(name: str, port: int, url: str) -> None:
    """Serve one of them until the process is told to stop; ours as `serve` runs it, without the look-up of a key."""
    database = Database(url)
    if name in ("tallystick", "gate", "bare"):
        await database.open()
    apps: dict[str, Callable[[], FastAPI]] = {
        "empty": empty,
        "guide": lambda: guide(url),
        "gate": lambda: http.create_app(http.HttpSettings(), database),
        "bare": lambda: bare(database),
        "tallystick": lambda: http.create_app(http.HttpSettings(open=True), database),
    }
    config = uvicorn.Config(apps[name](), host="127.0.0.1", port=port, http="httptools", log_level="warning", access_log=False)
    await uvicorn.Server(config).serve()
    await database.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
