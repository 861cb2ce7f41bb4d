"""The cookies of who signs in, and of who has."""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import Scope

from tallystick.http.settings import HttpSettings
from tallystick.kit import Forbidden

_MAX_COOKIES = 16 * 1024
_SIGNING_IN_S = 600
SIGN_IN = "/v1/sign-in"


class Cookies:
    """Which cookies there are, as it is set up: none where nobody signs in here.

    Over https their names begin with `__Host-`, by which browsers hold them to this host, to https and to no other path.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self.used = settings.sign_in_issuer is not None
        url = urlsplit(settings.public_url or "")
        self._origin = f"{url.scheme}://{url.netloc}"
        self._secure = url.scheme == "https"
        self._lasts_s = settings.session_s
        prefix = "__Host-" if self._secure else ""
        self._session, self._signing_in = f"{prefix}tallystick", f"{prefix}tallystick-signing-in"

    def session(self, scope: Scope) -> str | None:
        """The secret of the session that the request is part of."""
        return self._read(scope, self._session)

    def signing_in(self, scope: Scope) -> str | None:
        """The secret of the sign-in that has begun in this browser."""
        return self._read(scope, self._signing_in)

    def begin(self, response: Response, secret: str) -> None:
        """Remember the sign-in until the issuer sends the browser back."""
        self._set(response, self._signing_in, secret, _SIGNING_IN_S)

    def signed_in(self, response: Response, secret: str) -> None:
        """The sign-in is over, and the session begins."""
        self._set(response, self._signing_in, "", 0)
        self._set(response, self._session, secret, self._lasts_s)

    def signed_out(self, response: Response) -> None:
        self._set(response, self._session, "", 0)

    def check_origin(self, scope: Scope) -> None:
        """Refuse with `Forbidden` (`origin_refused`) what a page of another origin has its reader's browser ask for."""
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        if origins != [self._origin]:
            raise Forbidden("origin_refused", "with a cookie, changes are asked for by our own pages alone (Origin)")

    def _set(self, response: Response, name: str, value: str, lasts_s: int) -> None:
        response.set_cookie(name, value, max_age=lasts_s, path="/", secure=self._secure, httponly=True, samesite="lax")

    def _read(self, scope: Scope, name: str) -> str | None:
        headers = "; ".join(value.decode("latin-1") for key, value in scope["headers"] if key == b"cookie")
        if not headers or len(headers) > _MAX_COOKIES:
            return None
        try:
            found = SimpleCookie(headers).get(name)
        except CookieError:
            return None
        return found.value or None if found is not None else None
