"""Every refusal as a problem of RFC 9457, with a stable `code` for programs and a `detail` for people."""

from __future__ import annotations

import http
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tallystick.kit import Conflict, Forbidden, Invalid, NotFound, TallystickError, TooMany, Unauthorized, Unavailable, dumps

MEDIA_TYPE = "application/problem+json"
REQUEST_ID = "tallystick.request_id"
"""Where the id of a request is kept in its ASGI scope."""

_KEY = ("header", "idempotency-key")
_MAX_ERRORS = 20
_MAX_POINTER = 200
_STATUS: dict[type[TallystickError], int] = {
    Invalid: 422,
    NotFound: 404,
    Conflict: 409,
    Unauthorized: 401,
    Forbidden: 403,
    TooMany: 429,
    Unavailable: 503,
}
_HEADERS = {401: {"WWW-Authenticate": 'Bearer realm="tallystick"'}, 503: {"Retry-After": "1"}}
_OF_STATUS = {
    400: ("bad_request", "the request is malformed"),
    404: ("not_found", "there is nothing at this address"),
    405: ("method_not_allowed", "this address does not take this method"),
    413: ("body_too_large", "the body is too large"),
    415: ("unsupported_media_type", "send the body as application/json"),
}


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    request_id: str | None,
    errors: Sequence[Mapping[str, str]] = (),
    about: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A response of type `application/problem+json`."""
    content: dict[str, Any] = {
        **(about or {}),
        "type": f"urn:tallystick:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }
    if errors:
        content["errors"] = errors
    return Response(dumps(content), status, media_type=MEDIA_TYPE, headers={**_HEADERS.get(status, {}), **(headers or {})})


def of_error(error: TallystickError, request_id: str | None) -> Response:
    """The problem that a refusal of ours becomes."""
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, TooMany) else None
    return problem(status, error.code, error.detail, request_id=request_id, about=error.about, headers=headers)


async def on_refusal(request: Request, error: Exception) -> Response:
    """Answer an error of ours."""
    assert isinstance(error, TallystickError)
    return of_error(error, request.scope.get(REQUEST_ID))


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer what the framework refuses: unknown addresses, wrong methods, broken bodies."""
    assert isinstance(error, HTTPException)
    code, detail = _OF_STATUS.get(error.status_code, ("http_error", http.HTTPStatus(error.status_code).phrase))
    return problem(error.status_code, code, detail, request_id=request.scope.get(REQUEST_ID), headers=error.headers)


async def on_validation_error(request: Request, error: Exception) -> Response:
    """Answer input that is not of the declared shape: where and why, never the input itself."""
    assert isinstance(error, RequestValidationError)
    violations = error.errors()
    if any(one["type"] == "missing" and tuple(map(str.lower, map(str, one["loc"]))) == _KEY for one in violations):
        return problem(
            400,
            "idempotency_key_required",
            "what moves money needs an Idempotency-Key, one for each thing that is to happen once",
            request_id=request.scope.get(REQUEST_ID),
        )
    return problem(
        422,
        "validation_failed",
        "the request is not of the expected shape",
        request_id=request.scope.get(REQUEST_ID),
        errors=[_violation(one) for one in violations[:_MAX_ERRORS]],
    )


def _violation(error: Mapping[str, Any]) -> dict[str, str]:
    place, *path = error["loc"] or ("body",)
    return {"in": str(place), "pointer": _pointer(path), "code": str(error["type"]), "detail": str(error["msg"])}


def _pointer(path: Iterable[Any]) -> str:
    """A JSON pointer (RFC 6901), bounded, as the names of unknown fields are the caller's."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)[:_MAX_POINTER]
