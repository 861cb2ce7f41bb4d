"""Who is calling: by an API key in `Authorization: Bearer`, or, in the demo, nobody asks."""

from __future__ import annotations

import hashlib
import hmac
import time

from tallystick import identity
from tallystick.db import Database
from tallystick.http.settings import HttpSettings
from tallystick.kit import Unauthorized

DEMO = identity.Principal("demo", "person", frozenset({"operator", "approver", "auditor", "admin"}))
BOOTSTRAP = identity.Principal("bootstrap", "service", frozenset({"admin", "operator"}))

_MAX_KEYS = 1024
_MAX_SECRET = 200


class Gatekeeper:
    """Finds the principal of a request. Known keys are remembered for a few seconds, so a revoked one stops after those."""

    def __init__(self, settings: HttpSettings, database: Database) -> None:
        self._database = database
        self._open = settings.open
        self._ttl_s = settings.key_cache_s
        key = settings.api_key.get_secret_value() if settings.api_key else ""
        self._bootstrap = _fingerprint(key) if key else None
        self._known: dict[bytes, tuple[float, identity.Principal]] = {}

    async def principal(self, authorization: str | None) -> identity.Principal:
        """Who calls with this header. Refuses with `Unauthorized` no key (`key_missing`) and one nobody has (`key_unknown`)."""
        if self._open:
            return DEMO
        scheme, _, secret = (authorization or "").partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret:
            raise Unauthorized("key_missing", "send an API key: Authorization: Bearer KEY")
        if len(secret) > _MAX_SECRET:
            raise Unauthorized("key_unknown", "this API key is not known")
        fingerprint = _fingerprint(secret)
        if self._bootstrap is not None and hmac.compare_digest(fingerprint, self._bootstrap):
            return BOOTSTRAP
        known = self._known.get(fingerprint)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        return await self._look_up(secret, fingerprint)

    async def _look_up(self, secret: str, fingerprint: bytes) -> identity.Principal:
        async with self._database.read() as tx:
            found = await identity.authenticate(tx, secret)
        if found is None:
            self._known.pop(fingerprint, None)
            raise Unauthorized("key_unknown", "this API key is not known")
        if len(self._known) >= _MAX_KEYS:
            self._known.clear()
        self._known[fingerprint] = (time.monotonic() + self._ttl_s, found)
        return found


def _fingerprint(secret: str) -> bytes:
    # The plain key is kept nowhere, not even here.
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
