"""405, with every method that the address takes: the framework names those of the first route it finds."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route

from tallystick.http.problems import REQUEST_ID, problem


class MethodNotAllowed:
    """Answers the wrong method at an address that exists."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._routes = [route for route in routes if isinstance(route, Route)]

    async def answer(self, request: Request, _: Exception) -> Response:
        allowed: set[str] = set()
        for route in self._routes:
            match, _scope = route.matches(request.scope)
            if match is not Match.NONE:
                allowed |= route.methods or set()
        return problem(
            405,
            "method_not_allowed",
            "this address does not take this method",
            request_id=request.scope.get(REQUEST_ID),
            headers={"Allow": ", ".join(sorted(allowed))},
        )
