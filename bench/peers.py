"""What Tallystick is measured against: an endpoint that does nothing, and the way the guides show.

Run as `python -m bench.peers NAME PORT URL`; NAME is `empty`, `guide` or `tallystick`. Each is one process on uvicorn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import psycopg
import uvicorn
import uvloop
from fastapi import FastAPI, HTTPException
from psycopg.rows import dict_row
from pydantic import BaseModel

from tallystick import http
from tallystick.db import Database


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


async def serve(name: str, port: int, url: str) -> None:
    """Serve one of them until the process is told to stop; ours as `serve` runs it, without the look-up of a key."""
    database = Database(url)
    if name == "tallystick":
        await database.open()
    apps: dict[str, Callable[[], FastAPI]] = {
        "empty": empty,
        "guide": lambda: guide(url),
        "tallystick": lambda: http.create_app(http.HttpSettings(open=True), database),
    }
    config = uvicorn.Config(apps[name](), host="127.0.0.1", port=port, http="httptools", log_level="warning", access_log=False)
    await uvicorn.Server(config).serve()
    await database.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
