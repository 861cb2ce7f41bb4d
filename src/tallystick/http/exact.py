"""JSON in and out with exact numbers, and no route without a known caller."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import cached_property
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tallystick.http.access import Rule, rule_of
from tallystick.http.guards import asked_by, is_narrow
from tallystick.http.services import CALL, Call, Services
from tallystick.kit import MAX_BRACKETS, Invalid, dumps, loads


class Json(Response):
    """A response whose decimals are written digit by digit."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return dumps(content)


class ExactRequest(Request):
    """A request whose JSON was read with exact numbers."""

    exact: Any = None

    async def json(self) -> Any:
        return self.exact


class ExactRoute(APIRoute):
    """A route that asks who is calling, then reads the body; only then does the framework look at it."""

    max_brackets = MAX_BRACKETS
    """Twice the arrays and objects that a body may hold."""

    @cached_property
    def rule(self) -> Rule:
        """Who may call it."""
        (method,) = sorted(self.methods or set())
        return rule_of(method, self.path)

    @cached_property
    def queries(self) -> frozenset[str] | None:
        """The names of its query parameters; those of the guides' routes are not looked at."""
        if not self.path.startswith("/v1/"):
            return None
        return frozenset(_queries_of(self.dependant))

    def _check_query(self, request: Request) -> None:
        """Refuse a parameter that does nothing: a slip in the name of a filter would show what nobody asked for."""
        if not request.scope["query_string"] or self.queries is None:
            return
        for name in request.query_params:
            if name not in self.queries:
                there = f"there are: {', '.join(sorted(self.queries))}" if self.queries else "there are none"
                raise Invalid("unknown_parameter", f"there is no query parameter {name[:100]!r} here; {there}")

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        takes_body = self.body_field is not None

        async def handle(request: Request) -> Response:
            _check_address(request)
            services: Services = request.app.state.services
            principal = await services.gatekeeper.principal(request.scope)
            self.rule.check_role(principal)
            call = request.scope[CALL] = Call(principal, services)
            if not takes_body:
                if is_narrow(principal):
                    await self.rule.check_objects(asked_by(call, request, None))
                self._check_query(request)
                return await handler(request)
            exact = ExactRequest(request.scope, request.receive)
            body = await exact.body()
            if body:
                check_content_type(request.headers.get("content-type", ""))
                exact.exact = loads(body, max_brackets=self.max_brackets)
            if is_narrow(principal):
                await self.rule.check_objects(asked_by(call, request, exact.exact))
            self._check_query(request)
            return await handler(exact)

        return handle


class BulkRoute(ExactRoute):
    """A route that takes thousands of things in one body, which has the bounds in bytes of `envelope.LARGER`."""

    max_brackets = 4 * MAX_BRACKETS


def _queries_of(dependant: Dependant) -> set[str]:
    found = {field.alias for field in dependant.query_params}
    return found.union(*map(_queries_of, dependant.dependencies))


def _check_address(request: Request) -> None:
    """PostgreSQL holds no U+0000, so nothing can be found under it."""
    if "\x00" in request.scope["path"]:
        raise HTTPException(404)
    if b"%00" in request.scope["query_string"]:
        raise Invalid("text_malformed", "a query may not hold U+0000")


def check_content_type(content_type: str) -> None:
    """Refuse what is not declared as JSON."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != "application/json" and not (media_type.startswith("application/") and media_type.endswith("+json")):
        raise HTTPException(415)
