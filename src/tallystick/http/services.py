"""What the routes work with: one object for the process, one for each call."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from tallystick import actions, identity, ledger, work
from tallystick.db import Bell, Database
from tallystick.http.auth import Gatekeeper
from tallystick.http.batching import Batcher
from tallystick.http.line import Line
from tallystick.http.presence import Presence
from tallystick.http.sessions import Cookies
from tallystick.http.settings import HttpSettings

CALL = "tallystick.call"
"""Where the call of a request is kept in its ASGI scope."""


@dataclass(frozen=True, slots=True)
class Services:
    """What a process needs to answer: the database, the bell that wakes workers, the group commit, the gatekeeper.

    `streams` are the places for long answers, each of which keeps a connection for as long as its reader takes. In `line` stand
    those who wait for tasks. `answered` counts the answers of this process by their status. `stopping` is set when the server
    begins to stop.
    """

    settings: HttpSettings
    database: Database
    bell: Bell
    transfers: Batcher[actions.NewTransfer, actions.Transfer]
    journals: Batcher[ledger.NamedJournal, ledger.Posted | actions.Held | actions.Denied]
    gatekeeper: Gatekeeper
    presence: Presence
    cookies: Cookies
    streams: asyncio.Semaphore
    line: Line
    answered: Counter[int]
    stopping: asyncio.Event

    @classmethod
    def of(cls, settings: HttpSettings, database: Database) -> Services:
        bell = Bell(database, work.CHANNEL)
        streams = asyncio.Semaphore(settings.max_streams)
        presence = Presence(database, daily_quota=settings.daily_quota)
        cookies = Cookies(settings)

        def ring(transfers: Sequence[actions.Transfer]) -> None:
            if any(transfer.status == "queued" for transfer in transfers):
                bell.ring()

        return cls(
            settings,
            database,
            bell,
            Batcher(
                database,
                partial(actions.propose, directory=ledger.Directory()),
                committed=ring,
            ),
            Batcher(database, actions.post_journals),
            Gatekeeper(settings, database, presence, cookies),
            presence,
            cookies,
            streams,
            Line(database, work.CHANNEL, places=settings.max_waiting_claims),
            Counter(),
            asyncio.Event(),
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a known caller."""

    principal: identity.Principal
    services: Services

    @property
    def database(self) -> Database:
        return self.services.database


async def current_call(request: Request) -> Call:
    """The call that the route class has authenticated."""
    return cast(Call, request.scope[CALL])


CurrentCall = Annotated[Call, Depends(current_call)]
