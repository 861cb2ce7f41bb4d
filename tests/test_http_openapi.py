"""The OpenAPI document: it is complete, and the server holds what it says, whatever is generated from it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, Phase
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from tallystick.db import Database
from tallystick.http import create_app
from tests.conftest import ROOT, TestDatabase
from tests.serving import OPEN, fund, live

_EXAMPLES = int(os.environ.get("TALLYSTICK_TEST_EXAMPLES", "10"))
_METHODS = ("get", "post", "patch", "put", "delete")
_SETTINGS = hypothesis.settings(
    max_examples=_EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def app() -> FastAPI:
    return create_app(OPEN, Database("host=/nowhere"))


def _operations(app: FastAPI) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
        if method in _METHODS
    ]


def test_every_route_is_documented_with_an_example_of_its_answer(app: FastAPI) -> None:
    documented = dict(_operations(app))
    routes = {f"{method} {route.path}" for route in app.routes if isinstance(route, APIRoute) for method in route.methods or ()}
    assert set(documented) == routes
    schemas = app.openapi()["components"]["schemas"]
    for name, operation in documented.items():
        assert operation["summary"], name
        (answer,) = [content for status, content in operation["responses"].items() if status in ("200", "201")]
        assert _has_example(answer["content"]["application/json"]["schema"], schemas), name
        if "requestBody" in operation:
            for content in operation["requestBody"]["content"].values():
                assert _has_example(content["schema"], schemas), name


def _has_example(schema: dict[str, Any], schemas: dict[str, Any]) -> bool:
    if "$ref" in schema:
        return _has_example(schemas[schema["$ref"].rsplit("/", 1)[1]], schemas)
    if "examples" in schema or "example" in schema:
        return True
    if "items" in schema:
        return _has_example(schema["items"], schemas)
    # A page has the examples of its items, a body those of its fields.
    return any(_has_example(field, schemas) for field in schema.get("properties", {}).values())


def test_every_refusal_is_documented_as_a_problem(app: FastAPI) -> None:
    for name, operation in _operations(app):
        assert {"401", "422", "503"} <= set(operation["responses"]), name
        for status, answer in operation["responses"].items():
            if status >= "400":
                assert set(answer["content"]) == {"application/problem+json"}, (name, status)
    assert "HTTPValidationError" not in app.openapi()["components"]["schemas"]


def test_a_key_is_documented_as_a_bearer_token(app: FastAPI) -> None:
    assert app.openapi()["security"] == [{"key": []}]
    assert app.openapi()["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_every_post_but_those_with_a_fence_documents_the_idempotency_key(app: FastAPI) -> None:
    without = {
        name
        for name, operation in _operations(app)
        if name.startswith("POST ")
        and "idempotency-key" not in {parameter["name"].lower() for parameter in operation.get("parameters", ())}
    }
    assert without == {
        "POST /v1/policy-checks",
        "POST /v1/tasks/claim",
        "POST /v1/tasks/heartbeat",
        "POST /v1/tasks/settle",
        "POST /v1/workers",
        "POST /v1/workers/{worker_id}/heartbeat",
        "POST /v1/workers/{worker_id}/leave",
        *(f"POST /v1/tasks/{{task_id}}/{verb}" for verb in ("fail", "return", "park", "steps")),
    }


# The server lives in this process, and draws numbers of its own while a case is drawn, as when its pool opens a connection.
@pytest.mark.filterwarnings("ignore:Do not use the .random. module:hypothesis.errors.HypothesisDeprecationWarning")
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
async def test_nothing_generated_from_the_document_is_an_error_of_the_server(
    db: Database, database: TestDatabase, mode: GenerationMode
) -> None:
    await fund(db, "ACC123", "ACC999")
    checks = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
    with live(database.app_url) as base:
        schema = schemathesis.openapi.from_url(f"{base}/openapi.json")
        tested = 0
        for result in schema.get_all_operations():
            assert isinstance(result, Ok)
            operation = result.ok()
            if mode is GenerationMode.NEGATIVE and not (operation.body or operation.path_parameters or operation.query):
                continue

            @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
            @_SETTINGS
            @hypothesis.seed(1)
            def holds(case: Any) -> None:
                if isinstance(case.body, dict) and case.body.get("wait_s") in range(1, 31):
                    # There are no tasks, so a claim that waits would wait for nothing.
                    case.body["wait_s"] = 0
                case.call_and_validate(checks=checks)

            holds()
            tested += 1
        assert tested > 20


def test_every_code_that_is_raised_is_in_the_documentation() -> None:
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", (ROOT / "docs/api.md").read_text("utf-8"), re.MULTILINE))
    raised: set[str] = set()
    refusal = r"(?:Invalid|NotFound|Conflict|Unauthorized|Forbidden|Unavailable)\(\s*\"([a-z_]+)\""
    for path in (ROOT / "src/tallystick").rglob("*.py"):
        if not _is_of_the_command(path.relative_to(ROOT / "src/tallystick")):
            raised |= set(re.findall(refusal, path.read_text("utf-8")))
    assert len(raised) > 20
    assert raised <= documented, sorted(raised - documented)


def _is_of_the_command(path: Path) -> bool:
    """Files whose refusals are seen at the command line alone."""
    return path.parts[0] in ("cli", "client") or str(path) in ("db/embedded.py", "db/revisions.py", "trading/csv.py")
