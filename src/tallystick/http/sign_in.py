"""`/v1/sign-in`: people sign in at their own issuer, by OpenID Connect's authorization code with PKCE (RFC 7636, S256).

What a sign-in that has begun must come back with (state, nonce, code verifier) is worked out from one secret in a cookie of the
browser that began it, so that nothing is kept here for those who never come back, and nobody ends another's sign-in.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from tallystick import identity
from tallystick.http import issuers
from tallystick.http.issuers import Issuer
from tallystick.http.services import Services
from tallystick.http.sessions import SIGN_IN
from tallystick.http.settings import HttpSettings
from tallystick.kit import Invalid, NotFound, TallystickError, Unauthorized

# A path of ours: what begins with two slashes, or holds a backslash, would be taken for another host.
_NEXT = re.compile(r"/(?:[A-Za-z0-9._~?&=%:@-][A-Za-z0-9._~?&=%:@/-]{0,199})?")
_HOME = "/v1/me"
_MAX_CODE = 2000


class SignIn:
    """How people sign in, as it is set up."""

    def __init__(self, settings: HttpSettings, issuer: Issuer) -> None:
        self.issuer = issuer
        self._client_id = settings.sign_in_client_id or ""
        self._secret = settings.sign_in_client_secret
        self._redirect = (settings.public_url or "").rstrip("/") + f"{SIGN_IN}/callback"
        self._claim = settings.sign_in_roles_claim
        self._roles = settings.sign_in_roles
        self.lasts_s = settings.session_s

    async def address(self, secret: str) -> str:
        """Where the browser is sent to, to sign in."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(_derived(secret, "verifier").encode()).digest()).rstrip(b"=")
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect,
            "scope": "openid",
            "state": _derived(secret, "state"),
            "nonce": _derived(secret, "nonce"),
            "code_challenge": challenge.decode(),
            "code_challenge_method": "S256",
        }
        endpoint = await self.issuer.endpoint("authorization_endpoint")
        return endpoint + ("&" if "?" in endpoint else "?") + urlencode(asked)

    async def claims(self, secret: str, answer: Mapping[str, str]) -> Mapping[str, Any]:
        """Who came back with this answer to the sign-in. Refuses with `Unauthorized` what is not its answer."""
        if (
            not _equal(answer.get("state", ""), _derived(secret, "state"))
            or answer.get("iss", self.issuer.url) != self.issuer.url
        ):
            raise Unauthorized("state_refused", "this is not the end of a sign-in that began here; begin again")
        code = answer.get("code", "")
        if not 1 <= len(code) <= _MAX_CODE:
            raise Unauthorized("sign_in_refused", "the issuer let nobody in")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect,
            "client_id": self._client_id,
            "code_verifier": _derived(secret, "verifier"),
        }
        given = None if self._secret is None else (self._client_id, self._secret.get_secret_value())
        token = (await self.issuer.exchange(form, secret=given)).get("id_token")
        if not isinstance(token, str) or len(token) > issuers.MAX_TOKEN:
            raise issuers.refused()
        claims = await self.issuer.verify(token, audience=self._client_id)
        nonce, party = claims.get("nonce"), claims.get("azp", self._client_id)
        if not isinstance(nonce, str) or not _equal(nonce, _derived(secret, "nonce")) or party != self._client_id:
            raise issuers.refused()
        return claims

    def scopes(self, claims: Mapping[str, Any]) -> list[str] | None:
        """The roles that a claim leaves, where it is set up that one does; `None` is all."""
        if self._claim is None:
            return None
        said = claims.get(self._claim)
        groups = said if isinstance(said, list) else [said]
        allowed = {role for group in groups if isinstance(group, str) for role in self._roles.get(group, ())}
        return [role for role in identity.ROLES if role in allowed]


def routes() -> list[BaseRoute]:
    """Beginning, end and undoing of a sign-in: open to everybody."""
    return [
        Route(SIGN_IN, _begin, methods=["GET"]),
        Route(f"{SIGN_IN}/callback", _end, methods=["GET"]),
        Route("/v1/sign-out", _undo, methods=["POST"]),
    ]


async def _begin(request: Request) -> Response:
    services, sign_in = _set_up(request)
    following = request.query_params.get("next", _HOME)
    if not _NEXT.fullmatch(following):
        raise Invalid("next_malformed", "after a sign-in one goes to a path of ours")
    secret = f"{secrets.token_urlsafe(32)}.{base64.urlsafe_b64encode(following.encode()).decode().rstrip('=')}"
    response = RedirectResponse(await sign_in.address(secret), 303)
    services.cookies.begin(response, secret)
    return response


async def _end(request: Request) -> Response:
    services, sign_in = _set_up(request)
    secret = services.cookies.signing_in(request.scope)
    try:
        if secret is None:
            raise Unauthorized("state_refused", "this is not the end of a sign-in that began here; begin again")
        claims = await sign_in.claims(secret, request.query_params)
        async with services.database.write() as tx:
            session = await identity.open_session(
                tx, issuer=sign_in.issuer.url, subject=claims["sub"], lasts_s=sign_in.lasts_s, scopes=sign_in.scopes(claims)
            )
    except TallystickError as refusal:
        if isinstance(refusal, Unauthorized):
            services.gatekeeper.failed(request.scope, refusal.code)
        raise
    response = RedirectResponse(_following(secret), 303)
    services.cookies.signed_in(response, session.secret)
    return response


async def _undo(request: Request) -> Response:
    services, _ = _set_up(request)
    session = services.cookies.session(request.scope)
    response = Response(status_code=204)
    if session is not None:
        services.cookies.check_origin(request.scope)
        services.gatekeeper.forget(session)
        async with services.database.write() as tx:
            await identity.end_session(tx, session)
    services.cookies.signed_out(response)
    return response


def _set_up(request: Request) -> tuple[Services, SignIn]:
    services: Services = request.app.state.services
    sign_in: SignIn | None = request.app.state.sign_in
    if sign_in is None:
        raise NotFound("no_sign_in", "nobody signs in here; keys are sent as Authorization: Bearer KEY")
    return services, sign_in


def _following(secret: str) -> str:
    written = secret.partition(".")[2]
    try:
        found = base64.urlsafe_b64decode(written + "=" * (-len(written) % 4)).decode()
    except (ValueError, binascii.Error):
        return _HOME
    # The cookie may be another's work.
    return found if _NEXT.fullmatch(found) else _HOME


def _derived(secret: str, purpose: str) -> str:
    """43 characters that only this secret gives for the purpose: as much as a code verifier has at least."""
    return base64.urlsafe_b64encode(hmac.digest(secret.encode(), purpose.encode(), "sha256")).decode().rstrip("=")


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
