"""Issuers of OpenID Connect and of tokens: where they are asked, and what of theirs is believed.

OpenID Connect Core 1.0, Discovery 1.0, RFC 7519 (JWT), RFC 8725 (best current practices for JWT). A token is believed that one
of the issuer's public keys has signed, by an algorithm of the list; `none` and those with shared secrets are not on it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import httpx
import jwt

from tallystick.http.settings import is_safe_url
from tallystick.kit import TallystickError, Unauthorized, Unavailable, loads

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
MAX_TOKEN = 8192

_LEEWAY_S = 10
_TIMEOUT_S = 5.0
_MAX_BYTES = 512 * 1024
_MAX_KEYS = 50
_KEPT_S = 600.0
_LOOKS_PER_MINUTE = 5


class Issuer:
    """One issuer. Its configuration and keys are kept ten minutes; a key that is not known is looked for at once, but only
    a few times a minute, whatever anybody sends."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._configuration: tuple[float, Mapping[str, Any]] | None = None
        self._keys: tuple[float, list[Mapping[str, Any]]] | None = None
        self._looks: deque[float] = deque(maxlen=_LOOKS_PER_MINUTE)
        self._lock = asyncio.Lock()

    async def endpoint(self, name: str) -> str:
        """The address of one of its endpoints. Refuses with `Unavailable` (`issuer_unavailable`)."""
        found = (await self._configured()).get(name)
        if not isinstance(found, str) or not is_safe_url(found):
            raise _unavailable(f"it names no safe {name}")
        return found

    async def verify(self, token: str, *, audience: str) -> Mapping[str, Any]:
        """What a token of this issuer says to `audience`. Refuses with `Unauthorized` (`token_refused`) all that is not so."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise refused() from None
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS or not isinstance(kid, str | None):
            raise refused()
        key = await self._key(kid, algorithm)
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=audience,
                issuer=self.url,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "sub", "aud"]},
            )
        except jwt.PyJWTError:
            raise refused() from None
        if not isinstance(claims["sub"], str) or not claims["sub"]:
            raise refused()
        return claims

    async def exchange(self, form: Mapping[str, str], *, secret: tuple[str, str] | None) -> Mapping[str, Any]:
        """What the token endpoint gives for a code. Refuses with `Unauthorized` (`code_refused`) where it gives nothing."""
        answer = await _ask("POST", await self.endpoint("token_endpoint"), form=form, secret=secret)
        if answer is None:
            raise Unauthorized("code_refused", "the issuer does not take this code")
        return answer

    async def _key(self, kid: str | None, algorithm: str) -> jwt.PyJWK:
        found = _matching(await self._published(fresh=False), kid, algorithm)
        if found is None:
            found = _matching(await self._published(fresh=True), kid, algorithm)
        if found is None:
            raise refused()
        return found

    async def _published(self, *, fresh: bool) -> list[Mapping[str, Any]]:
        async with self._lock:
            now = time.monotonic()
            if self._keys is not None and not fresh and self._keys[0] > now:
                return self._keys[1]
            if self._keys is not None and len(self._looks) == _LOOKS_PER_MINUTE and self._looks[0] > now - 60:
                return self._keys[1]
            self._looks.append(now)
            answer = await _ask("GET", await self.endpoint("jwks_uri"))
            keys = answer.get("keys") if answer is not None else None
            if not isinstance(keys, list):
                raise _unavailable("its keys cannot be read")
            self._keys = (now + _KEPT_S, [key for key in keys[:_MAX_KEYS] if isinstance(key, Mapping)])
            return self._keys[1]

    async def _configured(self) -> Mapping[str, Any]:
        now = time.monotonic()
        if self._configuration is not None and self._configuration[0] > now:
            return self._configuration[1]
        answer = await _ask("GET", self.url.rstrip("/") + "/.well-known/openid-configuration")
        if answer is None or answer.get("issuer") != self.url:
            raise _unavailable("its configuration is not of this issuer")
        self._configuration = (now + _KEPT_S, answer)
        return answer


def refused() -> Unauthorized:
    """One refusal for all reasons, which are nobody's business but the issuer's."""
    return Unauthorized("token_refused", "this token is not of a known issuer, not for us, over, or not signed as it should be")


def issuer_of(token: str) -> str | None:
    """The issuer that a token names, which proves nothing."""
    try:
        named = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except jwt.PyJWTError:
        return None
    return named if isinstance(named, str) else None


def _matching(keys: list[Mapping[str, Any]], kid: str | None, algorithm: str) -> jwt.PyJWK | None:
    """The public key for signatures of this name; without a name, the only one that fits."""
    fitting = []
    for key in keys:
        if key.get("use", "sig") != "sig" or key.get("alg", algorithm) != algorithm or key.get("kty") == "oct":
            continue
        if kid is not None and key.get("kid") != kid:
            continue
        try:
            fitting.append(jwt.PyJWK.from_dict(dict(key), algorithm=algorithm))
        except jwt.PyJWTError:
            continue
    return fitting[0] if len(fitting) == 1 else None


async def _ask(
    method: str, url: str, *, form: Mapping[str, str] | None = None, secret: tuple[str, str] | None = None
) -> Mapping[str, Any] | None:
    """The JSON object of an answer; `None` where the answer is a refusal. Redirects are not followed."""
    try:
        async with (
            httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False) as client,
            client.stream(
                method,
                url,
                data=None if form is None else dict(form),
                auth=None if secret is None else httpx.BasicAuth(*secret),
                headers={"accept": "application/json"},
            ) as answer,
        ):
            body = b""
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _MAX_BYTES:
                    raise _unavailable("its answer is too large")
            status = answer.status_code
    except httpx.HTTPError:
        raise _unavailable("it cannot be reached") from None
    if 400 <= status < 500:
        return None
    try:
        found = loads(body) if status == 200 else None
    except TallystickError:
        found = None
    if not isinstance(found, Mapping):
        raise _unavailable("its answer cannot be read")
    return found


def _unavailable(why: str) -> Unavailable:
    return Unavailable("issuer_unavailable", f"the issuer of sign-ins is not to be had: {why}")
