"""Who is calling: by a key or a token in `Authorization`, by the cookie of who signed in, or, in the demo, nobody asks."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping

from starlette.types import Scope

from tallystick import identity
from tallystick.db import Database
from tallystick.http import issuers
from tallystick.http.issuers import Issuer
from tallystick.http.limits import Limits
from tallystick.http.presence import Presence
from tallystick.http.sessions import Cookies
from tallystick.http.settings import HttpSettings
from tallystick.kit import Unauthorized

DEMO = identity.Principal("demo", "person", frozenset({"operator", "approver", "auditor", "admin"}))
BOOTSTRAP = identity.Principal("bootstrap", "service", frozenset({"admin", "operator"}))

_MAX_KNOWN = 1024
_MAX_SECRET = 200
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Gatekeeper:
    """Finds the principal of a request. Who was let in is remembered for a few seconds, so a revoked key stops after those."""

    def __init__(self, settings: HttpSettings, database: Database, presence: Presence, cookies: Cookies) -> None:
        self._database = database
        self._presence = presence
        self._cookies = cookies
        self._open = settings.open
        self._ttl_s = settings.key_cache_s
        self._limits = Limits(settings)
        key = settings.api_key.get_secret_value() if settings.api_key else ""
        self._bootstrap = _fingerprint(key) if key else None
        self._issuers: Mapping[str, tuple[Issuer, str]] = {
            url: (Issuer(url), audience) for url, audience in settings.token_issuers.items()
        }
        self._known: dict[bytes, tuple[float, identity.Principal]] = {}

    async def principal(self, scope: Scope) -> identity.Principal:
        """Who calls with these headers.

        Refuses with `Unauthorized` (`key_missing`, `key_unknown`, `token_refused`, `login_unknown`, `session_over`), with
        `Forbidden` (`origin_refused`) a change that a page of another origin asks for with a cookie, and with `TooMany`
        (`rate_limited`, `quota_used`) who asks too often.
        """
        if self._open:
            return DEMO
        found = await self._found(scope)
        self._limits.take(found.name)
        self._presence.asked(found.name)
        return found

    def forget(self, session: str) -> None:
        """Who signed out is known no more."""
        self._known.pop(_fingerprint(f"session {session}"), None)

    def failed(self, scope: Scope, code: str, *, secret: str = "") -> None:
        """Note an attempt to be let in that was refused."""
        address = scope["client"][0] if scope.get("client") else None
        self._presence.failed(code, prefix=identity.prefix_of(secret), address=address)

    async def _found(self, scope: Scope) -> identity.Principal:
        authorization = next((value for name, value in scope["headers"] if name == b"authorization"), None)
        if authorization is None and self._cookies.used and (session := self._cookies.session(scope)):
            return await self._by_session(scope, session)
        scheme, _, secret = (authorization or b"").decode("latin-1").partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret:
            raise Unauthorized("key_missing", "send an API key: Authorization: Bearer KEY")
        if self._issuers and secret.count(".") == 2:
            return await self._by_token(scope, secret)
        if len(secret) > _MAX_SECRET:
            raise self._unknown(scope)
        fingerprint = _fingerprint(secret)
        if self._bootstrap is not None and hmac.compare_digest(fingerprint, self._bootstrap):
            return BOOTSTRAP
        known = self._remembered(fingerprint)
        return known if known is not None else await self._by_key(scope, secret, fingerprint)

    async def _by_key(self, scope: Scope, secret: str, fingerprint: bytes) -> identity.Principal:
        async with self._database.read() as tx:
            found = await identity.recognize(tx, secret)
        if found is None:
            self._known.pop(fingerprint, None)
            raise self._unknown(scope, secret)
        self._presence.used(found.key_id)
        return self._remember(fingerprint, found.principal, self._ttl_s)

    async def _by_session(self, scope: Scope, session: str) -> identity.Principal:
        if scope["method"] not in _READING:
            self._cookies.check_origin(scope)
        fingerprint = _fingerprint(f"session {session}")
        known = self._remembered(fingerprint)
        if known is not None:
            return known
        async with self._database.read() as tx:
            found = await identity.recognize_session(tx, session)
        if found is None:
            raise Unauthorized("session_over", "sign in again")
        return self._remember(fingerprint, found.principal, self._ttl_s)

    async def _by_token(self, scope: Scope, token: str) -> identity.Principal:
        fingerprint = _fingerprint(token)
        known = self._remembered(fingerprint)
        if known is not None:
            return known
        try:
            found, lasts_s = await self._read_token(token)
        except Unauthorized as refusal:
            self.failed(scope, refusal.code)
            raise
        return self._remember(fingerprint, found, min(self._ttl_s, lasts_s))

    async def _read_token(self, token: str) -> tuple[identity.Principal, float]:
        """Whose token it is, and for how many seconds."""
        named = issuers.issuer_of(token) if len(token) <= issuers.MAX_TOKEN else None
        if named is None or named not in self._issuers:
            raise issuers.refused()
        issuer, audience = self._issuers[named]
        claims = await issuer.verify(token, audience=audience)
        if "nonce" in claims:
            # A token that says who signed in at a page is not for calling us.
            raise issuers.refused()
        async with self._database.read() as tx:
            found = await identity.principal_of_login(tx, issuer=named, subject=claims["sub"])
        if found is None:
            raise Unauthorized("login_unknown", "nobody here is known by this account; an admin can bind it")
        return found, float(claims["exp"]) - time.time()

    def _remembered(self, fingerprint: bytes) -> identity.Principal | None:
        known = self._known.get(fingerprint)
        return known[1] if known is not None and known[0] > time.monotonic() else None

    def _remember(self, fingerprint: bytes, found: identity.Principal, ttl_s: float) -> identity.Principal:
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[fingerprint] = (time.monotonic() + ttl_s, found)
        return found

    def _unknown(self, scope: Scope, secret: str = "") -> Unauthorized:
        self.failed(scope, "key_unknown", secret=secret)
        return Unauthorized("key_unknown", "this API key is not known")


def _fingerprint(secret: str) -> bytes:
    # The plain key is kept nowhere, not even here.
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
