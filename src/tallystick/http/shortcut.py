"""The way of the busiest requests: past the framework's layers and its search for a route, straight to the answer."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tallystick.http.direct import DirectRoute

Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]


class Shortcut:
    """Sends requests for the given routes straight to them, within `around`, and all else to `app`."""

    def __init__(
        self,
        app: ASGIApp,
        routes: Sequence[DirectRoute],
        handlers: Mapping[int | type[Exception], Handler],
        around: Callable[[ASGIApp], ASGIApp],
    ) -> None:
        """`handlers` answer what a route raises, by the class of the error."""
        self._app = app
        self._handlers = handlers
        self._routes = {
            (method, route.path): around(self._answering(route)) for route in routes for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        await (route or self._app)(scope, receive, send)

    def _answering(self, route: DirectRoute) -> ASGIApp:
        app = route.app

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await app(scope, receive, send)
            except Exception as error:
                handler = next((self._handlers[kind] for kind in type(error).__mro__ if kind in self._handlers), None)
                if handler is None:
                    raise
                # Such a route raises before it sends anything.
                response = await handler(Request(scope), error)
                await response(scope, receive, send)

        return answer
