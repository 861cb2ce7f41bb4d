"""Principals of every kind with a key each, on a server that asks for keys."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tallystick import identity
from tallystick.db import Database
from tallystick.http import HttpSettings
from tests.serving import serving

LOCKED = HttpSettings(open=False, key_cache_s=0)
_PEOPLE = {"eva": ("approver",), "jan": ("approver",), "olga": ("approver",), "hana": ("auditor",), "root": ("admin",)}


@dataclass(frozen=True)
class Door:
    """A client of a server that asks for keys, and a key of each principal."""

    client: httpx.AsyncClient
    keys: Mapping[str, str]

    async def ask(self, who: str, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """One request of somebody."""
        return await self.client.request(
            method, path, json=body, headers={"authorization": f"Bearer {self.keys[who]}", **headers}
        )


@contextlib.asynccontextmanager
async def door(db: Database) -> AsyncIterator[Door]:
    """People with roles, an agent `bot` of olga's, another one, and the service `desk`."""
    keys = {}
    async with db.write() as tx:
        for name, roles in _PEOPLE.items():
            await identity.add_principal(tx, name, kind="person", by="t", roles=roles)
        for bot in ("bot", "other-bot"):
            await identity.add_principal(tx, bot, kind="agent", by="t", owner="olga", risk_tier="low")
        await identity.add_principal(tx, "desk", kind="service", by="t", roles=("operator",))
        for name in (*_PEOPLE, "bot", "other-bot", "desk"):
            keys[name] = (await identity.create_key(tx, name, by="t")).secret
    async with serving(db, LOCKED, keyed=True) as client:
        yield Door(client, keys)
