"""A short way for the busiest routes: what the framework would find out anew for each request is settled once."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Coroutine
from typing import Any, cast

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tallystick.http.exact import ExactRequest, ExactRoute, check_content_type
from tallystick.http.guards import Asked, is_narrow
from tallystick.http.services import Call, Services
from tallystick.http.shapes import IDEMPOTENCY_KEY_PATTERN
from tallystick.kit import loads

_KEY = re.compile(IDEMPOTENCY_KEY_PATTERN)
_NOTHING = object()

Endpoint = Callable[..., Coroutine[Any, Any, Response]]


class DirectRoute(ExactRoute):
    """A route whose endpoint takes `body`, `call` and the `RequiredKey` `idempotency_key`, at an address without parameters.

    The framework documents it as any other, and does not take part in a request: resolving the three arguments costs it more
    time than all the rest of such a request takes before the database. A test holds the answers of both ways together.
    """

    def __init__(self, path: str, endpoint: Endpoint, **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self._model = cast(type[BaseModel], typing.get_type_hints(endpoint)["body"])
        self._endpoint = endpoint
        self.app = self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        services: Services = scope["app"].state.services
        principal = await services.gatekeeper.principal(scope)
        self.rule.check_role(principal)
        body = await ExactRequest(scope, receive).body()
        key = _text(headers.get(b"idempotency-key"))
        given = _read(body, _text(headers.get(b"content-type")) or "")
        if key is None:
            raise RequestValidationError([{"type": "missing", "loc": ("header", "Idempotency-Key"), "msg": "Field required"}])
        call = Call(principal, services)
        if is_narrow(principal):
            await self.rule.check_objects(Asked(call, {}, {}, given))
        response = await self._endpoint(body=self._validated(given), call=call, idempotency_key=_checked_key(key))
        await response(scope, receive, send)

    def _validated(self, given: Any) -> BaseModel:
        if given is _NOTHING:
            raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required"}])
        try:
            return self._model.model_validate(given, from_attributes=True)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False, include_context=False)
            raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found]) from None


def _read(body: bytes, content_type: str) -> Any:
    if not body:
        return _NOTHING
    if content_type != "application/json":
        check_content_type(content_type)
    return loads(body)


def _checked_key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise RequestValidationError(
            [
                {
                    "type": "string_pattern_mismatch",
                    "loc": ("header", "Idempotency-Key"),
                    "msg": "1 to 200 visible ASCII characters",
                }
            ]
        )
    return key


def _text(header: bytes | None) -> str | None:
    return None if header is None else header.decode("latin-1")
