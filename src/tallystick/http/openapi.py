"""The OpenAPI document: what the framework derives, plus how a caller is known and what a refusal looks like."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_METHODS = frozenset({"get", "post", "put", "patch", "delete"})
_REFUSALS = {
    "400": "No Idempotency-Key, which this request needs.",
    "401": "No API key, or one that is not known.",
    "403": "The caller is known, and may not do this.",
    "404": "Something that the request names does not exist.",
    "409": "The request contradicts what is already so.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "422": "The request has no meaning here; `code` says why.",
    "429": "The caller asks too often.",
    "503": "It may succeed later: the database is away or overloaded.",
}
_OF_READING = frozenset({"401", "403", "404", "422", "429", "503"})
_OF_A_BODY = frozenset({"413", "415"})
_RECEIPT = {
    "Tallystick-Event": "The events that this call left in the record, by their ids; absent where it left none.",
    "Tallystick-Leaf": "The SHA-256 hashes of their leaves, in hexadecimal, in the same order.",
}


class Violation(BaseModel):
    """One place of the request that is not of the expected shape."""

    in_: str = Field(alias="in", examples=["body"])
    pointer: str = Field(description="A JSON pointer.", examples=["/amount/currency"])
    code: str = Field(examples=["missing"])
    detail: str = Field(examples=["Field required"])


class Problem(BaseModel):
    """A refusal, by RFC 9457. `code` is stable and meant for programs."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:tallystick:problem:unknown_account",
                    "title": "Unknown account",
                    "status": 404,
                    "detail": "there is no account ACC9",
                    "code": "unknown_account",
                    "request_id": "5f0c1b2a9d8e7f60",
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None
    errors: list[Violation] | None = None


def document(derived: dict[str, Any]) -> dict[str, Any]:
    """Complete the derived document, in place."""
    components = derived.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "An API key."}}
    derived["security"] = [{"key": []}]
    for operations in derived["paths"].values():
        for method, operation in operations.items():
            if method in _METHODS:
                if method != "get":
                    _add_receipts(operation)
                _add_refusals(method, operation)
    return derived


def _add_refusals(method: str, operation: dict[str, Any]) -> None:
    wanted = _OF_READING if method == "get" else set(_REFUSALS)
    if not any(one["in"] == "header" and one.get("required") for one in operation.get("parameters", ())):
        wanted = wanted - {"400"}
    if "requestBody" not in operation:
        wanted = wanted - _OF_A_BODY
    operation["responses"].pop("422", None)
    for status in sorted(wanted):
        operation["responses"].setdefault(status, _refusal(_REFUSALS[status]))


def _add_receipts(operation: dict[str, Any]) -> None:
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            answer["headers"] = {
                name: {"description": says, "schema": {"type": "string"}, "required": False} for name, says in _RECEIPT.items()
            }


def _refusal(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
