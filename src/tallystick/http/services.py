"""What the routes work with: one object for the process, one for each call."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from tallystick import identity, work
from tallystick.db import Bell, Database
from tallystick.http.auth import Gatekeeper
from tallystick.http.batching import TransferBatcher
from tallystick.http.settings import HttpSettings

CALL = "tallystick.call"
"""Where the call of a request is kept in its ASGI scope."""


@dataclass(frozen=True, slots=True)
class Services:
    """What a process needs to answer: the database, the bell that wakes workers, the group commit, the gatekeeper.

    `streams` are the places for long answers, each of which keeps a connection for as long as its reader takes.
    """

    settings: HttpSettings
    database: Database
    bell: Bell
    transfers: TransferBatcher
    gatekeeper: Gatekeeper
    streams: asyncio.Semaphore

    @classmethod
    def of(cls, settings: HttpSettings, database: Database) -> Services:
        bell = Bell(database, work.CHANNEL)
        streams = asyncio.Semaphore(settings.max_streams)
        return cls(settings, database, bell, TransferBatcher(database, bell.ring), Gatekeeper(settings, database), streams)


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
