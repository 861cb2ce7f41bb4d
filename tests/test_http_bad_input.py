"""Whatever is sent to any route, the answer is an answer or a problem with a code; never an error of the server."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from tallystick.db import Database
from tallystick.http import create_app
from tests.serving import OPEN, code_of, fund, serving

_MONEY = {"amount": "1.50", "currency": "CZK"}
_ABOUT = {"ref_id": "1", "task_id": "1", "meta": {"x": [1]}}
_ENTRIES = [{"account": "ALICE", "amount": "-1.50"}, {"account": "BOB", "amount": "1.50"}]
_JOURNAL = {
    "kind": "k", "entries": _ENTRIES, "effective_at": "2026-04-21T10:00:00Z",
    "guards": [{"account": "ALICE", "available": "0", "seq": 1}], **_ABOUT,
}  # fmt: skip
_HOLD = {"account": "ALICE", "amount": _MONEY, "kind": "hold", "expires_in_s": 60, "expires_at": None, **_ABOUT}
_TASK = {
    "agent": "a", "type": "t", "payload": {"x": 1}, "priority": 1, "run_at": "2026-04-21T10:00:00Z",
    "deadline_at": "2026-04-21T10:00:00Z", "key": None, "order_key": "o", "after": [], "max_attempts": 3,
}  # fmt: skip
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/v1/transfers"): {
        "from_account": "ALICE", "to_account": "BOB", "amount": _MONEY, "settle": "now", "description": "d",
    },
    ("POST", "/v1/transfers/batch"): {
        "mode": "atomic", "transfers": [
            {"from_account": "ALICE", "to_account": "BOB", "amount": _MONEY, "settle": "now", "description": "d"},
        ],
    },
    ("POST", "/v1/actions"): {"type": "payee.add", "payload": {"account": "ALICE", "payee": "CZ01"}},
    ("PATCH", "/v1/actions/{action_id}"): {"payload": {"account": "ALICE", "payee": "CZ01"}},
    ("POST", "/v1/customers/{customer_id}/credential"): {"secret": "longer than that"},
    ("POST", "/v1/customers/{customer_id}/erasure"): {"reason": "request-7", "most_rows": 1000},
    ("POST", "/v1/policy-checks"): {"document": {"name": "p", "rules": [{"id": "a", "allow": True}]}},
    ("POST", "/v1/accounts"): {"id": "NEW", "currency": "CZK", "customer_id": "CUST-1", "kind": "customer"},
    ("POST", "/v1/customers"): {"id": "CUST-9", "full_name": "N", "birth_date": "1970-12-13", "sex": "F", "region": "R"},
    ("POST", "/v1/tasks"): _TASK,
    ("POST", "/v1/tasks/batch"): {"tasks": [_TASK]},
    ("POST", "/v1/tasks/claim"): {"agents": ["a"], "types": ["t"], "limit": 1, "lease_s": 60, "worker_id": None, "wait_s": 0},
    ("POST", "/v1/workers"): {"lease_s": 60},
    ("POST", "/v1/workers/{worker_id}/heartbeat"): {"lease_s": 60},
    ("POST", "/v1/tasks/heartbeat"): {"attempts": [{"id": "1", "fence": "1"}], "lease_s": 60},
    ("POST", "/v1/tasks/settle"): {
        "ends": [
            {"id": "1", "fence": "1", "ended": "done", "result": {"x": 1}, "error": None},
            {"id": "1", "fence": "1", "ended": "error", "error": "e", "retry_in_s": 1.5},
        ]
    },
    ("POST", "/v1/tasks/{task_id}/finish"): {
        "fence": "1", "state": "done", "result": {"x": 1}, "error": None, "effects": [
            {"effect": "transfer", "from_account": "ALICE", "to_account": "BOB", "amount": _MONEY, "description": "d"},
            {"effect": "event", "type": "t", "payload": {"x": 1}}, {"effect": "task", **_TASK},
        ],
    },
    ("POST", "/v1/tasks/{task_id}/fail"): {"fence": "1", "error": "e", "ended": "error", "retry_in_s": 1.5},
    ("POST", "/v1/tasks/{task_id}/return"): {"fence": "1", "reason": "r"},
    ("POST", "/v1/tasks/{task_id}/park"): {
        "fence": "1", "kind": "event", "step": "s", "input_hash": "0" * 64, "wake_at": "2026-04-21T10:00:00Z", "in_s": 1.5,
        "event_type": "t", "match": {"x": 1}, "question": {"q": 1},
    },
    ("POST", "/v1/tasks/{task_id}/steps"): {
        "fence": "1", "name": "s", "kind": "step", "state": "done", "try": 1, "input_hash": "0" * 64, "output": {"x": 1},
        "error": None, "detail": {"x": 1}, "took_ms": 1,
    },
    ("POST", "/v1/tasks/{task_id}/cancel"): {"reason": "r"},
    ("POST", "/v1/tasks/{task_id}/answers"): {"step": "s", "approved": True, "comment": "c"},
    ("PATCH", "/v1/work/queues/{agent}/{type}"): {
        "max_attempts": 5, "max_crashes": 5, "timeout_s": 30, "backoff_s": 1.5, "max_backoff_s": 300.0, "per_key": 1,
    },
    ("PATCH", "/v1/work/brakes/{kind}/{name}"): {"paused": True, "max_running": 1},
    ("POST", "/v1/approvals/{approval_id}/votes"): {"vote": "reject", "digest": "0" * 64, "reason": "r"},
    ("POST", "/v1/approvals/{approval_id}/break-glass"): {"digest": "0" * 64, "reason": "r"},
    ("POST", "/v1/approvals/{approval_id}/comments"): {"text": "t"},
    ("POST", "/v1/approvals/{approval_id}/review"): {"verdict": "justified", "note": "n"},
    ("POST", "/v1/webhooks"): {"url": "https://desk.example/", "events": ["asked"]},
    ("POST", "/v1/schedules"): {
        "name": "s", "agent": "a", "type": "t", "payload": {"x": 1}, "cron": "30 2 * * *", "time_zone": "Europe/Prague",
        "priority": 0, "catch_up": "latest", "fire_at_field": "at",
    },
    ("PATCH", "/v1/schedules/{name}"): {
        "agent": "a", "type": "t", "payload": {"x": 1}, "cron": "30 2 * * *", "time_zone": "Europe/Prague",
        "priority": 0, "catch_up": "latest", "fire_at_field": "at",
    },
    ("POST", "/v1/events"): {"agent": "a", "type": "t", "payload": {"x": 1}},
    ("POST", "/v1/cases"): {
        "customer_id": "C", "type": "trade_review", "door": "request", "payload": {"symbol": "AAPL", "notional": 1},
    },
    ("PATCH", "/v1/cases/{case_id}/status"): {"status": "processing"},
    ("POST", "/v1/calendars"): {
        "name": "CZ", "valid_from": "2024-01-01", "valid_until": "2024-12-31", "time_zone": "Europe/Prague", "cut_off": "17:00",
        "weekend": ["saturday", "sunday"], "holidays": [{"date": "2024-01-01", "name": "New Year"}],
    },
    ("POST", "/v1/business-days/{business_date}/close"): {"calendar": "CZ"},
    ("POST", "/v1/accounts/{account_id}/interest-rates"): {
        "rate": "0.035", "day_count": "ACT/365", "from_date": "2024-03-01", "paid_from": "BANK",
    },
    ("POST", "/v1/nostros"): {"id": "NOSTRO-1", "bank": "KOMBCZPP", "their_account": "CZ65", "currency": "CZK"},
    ("POST", "/v1/external-payments"): {
        "nostro": "NOSTRO-1", "from_account": "ALICE", "amount": _MONEY, "end_to_end_id": "E2E", "remittance": "r",
        "counterparty": {"name": "N", "account": "DE89", "bank": "B"},
    },
    ("POST", "/v1/external-payments/incoming"): {
        "nostro": "NOSTRO-1", "to_account": "ALICE", "amount": _MONEY, "end_to_end_id": "E2E", "remittance": "r",
        "counterparty": {"name": "N", "account": "DE89", "bank": "B"}, "booked_on": "2026-04-21",
    },
    ("POST", "/v1/external-payments/{payment_id}/settled"): {"booked_on": "2026-04-21"},
    ("POST", "/v1/external-payments/{payment_id}/rejected"): {"reason": "AC04", "booked_on": "2026-04-21"},
    ("POST", "/v1/external-payments/{payment_id}/returned"): {"reason": "AC04", "booked_on": "2026-04-21"},
    ("POST", "/v1/external-payments/{payment_id}/assigned"): {"account": "ALICE"},
    ("POST", "/v1/reconciliations/{reconciliation_id}/matches"): {"line": 1, "entry": 1, "why": "w"},
    ("POST", "/v1/reconciliations/{reconciliation_id}/explanations"): {"line": 1, "entry": None, "why": "w"},
    ("POST", "/v1/portfolios"): {"id": "P", "account_id": "ALICE", "settlement_account": "BANK", "shorts": False},
    ("POST", "/v1/orders"): {
        "portfolio": "P", "instrument": "AAA", "side": "buy", "quantity": "1.5", "limit_price": "1.25",
    },
    ("POST", "/v1/orders/{order_id}/fills"): {"quantity": "1.5", "price": "1.25"},
    ("POST", "/v1/journals"): _JOURNAL | {"dry_run": False},
    ("POST", "/v1/journals/batch"): {"mode": "independent", "dry_run": False, "journals": [_JOURNAL]},
    ("POST", "/v1/journals/{journal_id}/reversals"): {
        "amount": _MONEY, "entries": _ENTRIES, "effective_at": "2026-04-21T10:00:00Z", "dry_run": False, **_ABOUT,
    },
    ("POST", "/v1/holds"): _HOLD | {"dry_run": False},
    ("POST", "/v1/holds/batch"): {"mode": "atomic", "dry_run": False, "holds": [_HOLD]},
    ("POST", "/v1/holds/{hold_id}/captures"): {
        "to_account": "BOB", "amount": _MONEY, "final": True, "kind": "capture", "effective_at": "2026-04-21",
        "dry_run": False, **_ABOUT,
    },
    ("POST", "/v1/holds/{hold_id}/release"): {"dry_run": False},
    ("PUT", "/v1/accounts/{account_id}/limit"): {"overdraft_limit": "100.00"},
    ("POST", "/v1/principals"): {"name": "p", "kind": "agent", "roles": ["agent"], "owner": "anna", "risk_tier": "low"},
    ("PUT", "/v1/principals/{name}/roles"): {"roles": ["operator"]},
    ("PUT", "/v1/principals/{name}/reach"): {"accounts": ["ALICE"], "customers": "all"},
    ("PUT", "/v1/principals/{name}/owner"): {"owner": "anna", "risk_tier": "low"},
    ("POST", "/v1/principals/{name}/versions"): {
        "version": "7", "model": "m", "prompt_digest": "0" * 64, "tools_digest": "0" * 64,
    },
    ("POST", "/v1/principals/{name}/logins"): {"issuer": "https://login.bank.example", "subject": "s"},
    ("POST", "/v1/keys"): {
        "principal": "p", "scopes": ["agent"], "expires_in_s": 60, "version": "7", "mandate_id": "1",
    },
    ("POST", "/v1/keys/{key_id}/rotate"): {"overlap_s": 60, "expires_in_s": 60},
    ("POST", "/v1/mandates"): {
        "agent": "p", "person": "anna", "operations": ["transfer"], "accounts": ["ALICE"], "max_amount": [_MONEY],
        "total": [_MONEY], "payees": ["BOB"], "until": "2100-01-01T00:00:00Z", "beyond": "ask",
    },
    ("POST", "/transfers"): {"from_account": "ALICE", "to_account": "BOB", "amount": 1.5},
    ("POST", "/transfers/persisted"): {"from_account": "ALICE", "to_account": "BOB", "amount": 1.5},
    ("POST", "/agent-events"): {"agent_name": "a", "event_type": "t", "payload": {"x": 1}},
    ("POST", "/events"): {"customer_id": "C", "event_type": "t", "payload": "text"},
    ("POST", "/tasks"): {"agent_name": "a", "task_type": "t", "payload": {"x": 1}},
    ("POST", "/tasks/{task_id}/events"): {"event": "completed", "result": {"x": 1}},
    ("POST", "/requests"): {"client_id": "C", "request_type": "trade_review", "payload": {"symbol": "AAPL", "notional": 1}},
}  # fmt: skip
"""A good body for every route that takes one."""

ODD_VALUES = [
    "null", "true", "0", "-1", "1.5", "0.001", "1e30", "-0.0", "12345678901234567890", "9223372036854775807", '""', '"NaN"',
    '"1e400"', '"0"', '"-5"', '"0.001"', '"12345678901234567890"', '"' + "9" * 60 + '"', '"é 漢"', '"../../etc"',
    '"' + "x" * 5000 + '"',
    '"٣"', '" "', '"a\\nb"', "[]", "[1]", "{}", '{"a": {"b": [null]}}', '"ALICE"', '"EURO"', '"unknown"',
]  # fmt: skip
"""JSON that a field may or may not take."""

NEVER_VALUES = [
    "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e-400", "1" * 5000, '"\\u0000"', '"\\ud800"', '"a\\udc00b"',
    "[" * 100 + "]" * 100, '{"a":' * 40 + "1" + "}" * 40, "01", "1.", "'x'", "undefined", "[1,]", '"\x00"', '"unclosed',
]  # fmt: skip
"""What no field takes, as it is no JSON, or no number or text that a bank could keep."""

_HOLE = "@hole@"
_JSON = {"content-type": "application/json"}


def _parameters(dependant: Dependant, kind: str) -> Iterator[Any]:
    """What a route takes, itself or by what it depends on."""
    yield from getattr(dependant, kind)
    for part in dependant.dependencies:
        yield from _parameters(part, kind)


def _routes() -> list[tuple[str, APIRoute]]:
    app = create_app(OPEN, Database("host=/nowhere"))
    return [(method, route) for route in app.routes if isinstance(route, APIRoute) for method in sorted(route.methods or ())]


def _address(path: str, value: str = "1") -> str:
    return "/".join(value if step.startswith("{") else step for step in path.split("/"))


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key)
            yield from _places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield (*path, index)
            yield from _places(item, (*path, index))


def _with(body: dict[str, Any], path: tuple[Any, ...], literal: str) -> bytes:
    """The body as JSON text with the value at `path` replaced by `literal`, whatever that is."""
    changed = copy.deepcopy(body)
    place: Any = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = _HOLE
    return json.dumps(changed).replace(f'"{_HOLE}"', literal).encode("utf-8", "surrogatepass")


def _is_no_server_error(response: httpx.Response, sent: object) -> None:
    assert response.status_code < 500, (sent, response.text)
    if response.status_code >= 400:
        assert code_of(response), sent


def test_every_route_that_takes_a_body_has_a_good_one_here() -> None:
    assert {(method, route.path) for method, route in _routes() if route.body_field is not None} == set(BODIES)


@pytest.mark.parametrize(("method", "path"), BODIES, ids=lambda value: value)
async def test_odd_values_in_any_field_are_answered_or_refused(db: Database, method: str, path: str) -> None:
    await fund(db)
    body = BODIES[method, path]
    async with serving(db, keyed=True) as client:
        for place in _places(body):
            for literal in ODD_VALUES:
                sent = _with(body, place, literal)
                _is_no_server_error(await client.request(method, _address(path), content=sent, headers=_JSON), sent)


@pytest.mark.parametrize(("method", "path"), BODIES, ids=lambda value: value)
async def test_what_no_field_takes_is_refused_in_any_field(db: Database, method: str, path: str) -> None:
    await fund(db)
    body = BODIES[method, path]
    async with serving(db, keyed=True) as client:
        for place in _places(body):
            for literal in NEVER_VALUES:
                sent = _with(body, place, literal)
                response = await client.request(method, _address(path), content=sent, headers=_JSON)
                assert response.status_code in (400, 422), (sent, response.text)
                assert code_of(response).startswith(("json_", "validation_failed")), sent


@pytest.mark.parametrize(("method", "path"), BODIES, ids=lambda value: value)
async def test_bodies_of_another_kind_are_refused(db: Database, method: str, path: str) -> None:
    good = json.dumps(BODIES[method, path]).encode()
    cases: list[tuple[bytes, dict[str, str], int, str]] = [
        (b"", {}, 422, "validation_failed"),
        (b"[]", _JSON, 422, "validation_failed"),
        (b'"text"', _JSON, 422, "validation_failed"),
        (b"null", _JSON, 422, "validation_failed"),
        (b"{", _JSON, 422, "json_malformed"),
        (b"\xff\xfe", _JSON, 422, "json_malformed"),
        (good[:-1] + b"}}", _JSON, 422, "json_malformed"),
        (good, {}, 415, "unsupported_media_type"),
        (good, {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        (good, {"content-type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        (b"x" * 10_000_000, _JSON, 413, "body_too_large"),
    ]
    async with serving(db, keyed=True) as client:
        for content, headers, status, code in cases:
            response = await client.request(method, _address(path), content=content, headers=headers)
            assert (response.status_code, code_of(response)) == (status, code), content[:100]


async def _ten_megabytes() -> Any:
    for _ in range(160):
        yield b"x" * 65_536


@pytest.mark.parametrize(("method", "path"), BODIES, ids=lambda value: value)
async def test_a_body_that_announces_no_length_is_cut_off(db: Database, method: str, path: str) -> None:
    async with serving(db, keyed=True) as client:
        response = await client.request(method, _address(path), content=_ten_megabytes(), headers=_JSON)
    assert "content-length" not in response.request.headers
    assert (response.status_code, code_of(response)) == (413, "body_too_large")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "BREW"])
async def test_a_wrong_method_is_told_which_ones_are_right(db: Database, method: str) -> None:
    methods: dict[str, set[str]] = {}
    for allowed, route in _routes():
        methods.setdefault(_address(route.path), set()).add(allowed)
    async with serving(db, keyed=True) as client:
        for path, allowed_there in methods.items():
            # These addresses are also those of a task, a payment and the like, though of none that can exist.
            if method not in allowed_there and (method, path) not in (
                *(("GET", f"/v1/tasks/{verb}") for verb in ("batch", "claim", "heartbeat", "settle")),
                ("GET", "/v1/external-payments/incoming"),
                ("GET", "/v1/journals/batch"),
                ("GET", "/v1/holds/batch"),
                ("GET", "/v1/transfers/batch"),
            ):
                response = await client.request(method, path)
                assert response.status_code == 405, (method, path)
                told = {name.strip() for name in response.headers["allow"].split(",")}
                assert told >= allowed_there, (method, path)
                assert method not in told
                if method != "HEAD":
                    assert code_of(response) == "method_not_allowed"


ODD_STEPS = [
    "0", "-1", "1.5", "9223372036854775808", "12345678901234567890", "9" * 400, "999999999", "x", "%00", "a%00b", "%ff",
    "%ed%a0%80", "%F0%9F%92%A9", "..%2f..%2fetc", "%25", "x" * 3000, "%20", "+", "1_0", "%D9%A3", ";drop", "NaN", "1e400",
]  # fmt: skip


@pytest.mark.parametrize("step", ODD_STEPS, ids=lambda step: step[:20])
async def test_odd_addresses_are_refused_on_every_route(db: Database, step: str) -> None:
    async with serving(db, keyed=True) as client:
        for method, route in _routes():
            if "{" in route.path:
                body = BODIES.get((method, route.path))
                address = _address(route.path, step) + ("?status=processing" if route.path.startswith("/events/") else "")
                response = await client.request(method, address, json=body)
                if route.path == "/agent-events/{agent_name}" and response.status_code == 200:
                    assert response.json() == []
                    continue
                if route.path == "/v1/work/queues/{agent}/{type}" and response.status_code == 200:
                    # What may be the name of an agent can be configured before it has any task.
                    assert response.json()["agent"] == step
                    continue
                if route.path.startswith("/v1/workers/{worker_id}/") and response.status_code in (200, 409):
                    # Ids of workers that are gone are not kept, so one that never was is answered like one that has lost its
                    # lease; to leave twice is to leave.
                    assert response.json() == {"returned": 0} or code_of(response) == "lease_lost"
                    continue
                assert response.status_code in (404, 405, 422), (method, address, response.text)
                assert code_of(response)


ODD_QUERIES = [
    "limit=0", "limit=-1", "limit=1001", "limit=x", "limit=1.5", "limit=NaN", "limit=99999999999999999999",
    "limit=" + "9" * 5000,
    "limit=", "limit=%00", "cursor=", "cursor=x", "cursor=%00", "cursor=%ff", "cursor=WzEsMiwzXQ==", "cursor=e30=",
    "cursor=" + "A" * 5000,
    "cursor=WzEsImVudHJpZXMgZGVzYyIsLTFd", "cursor=WzEsImVudHJpZXMgZGVzYyIsMS41XQ==",
    "cursor=WzEsImVudHJpZXMgZGVzYyIsdHJ1ZV0=",
]  # fmt: skip


@pytest.mark.parametrize("query", ODD_QUERIES, ids=lambda query: query[:40])
async def test_bad_limits_and_cursors_are_refused_by_every_list(db: Database, query: str) -> None:
    await fund(db)
    async with serving(db, keyed=True) as client:
        for method, route in _routes():
            wanted = query.partition("=")[0]
            if wanted in {parameter.alias for parameter in _parameters(route.dependant, "query_params")}:
                response = await client.request(method, f"{_address(route.path, 'ALICE')}?{query}")
                assert response.status_code == 422, (route.path, response.text)
                assert code_of(response) in ("validation_failed", "cursor_malformed", "text_malformed")


@pytest.mark.parametrize("value", ["", "x", "%00", "%ff", "%ed%a0%80", "9" * 400, "a b", "'; --", "-1", "unknown", "NaN"])
async def test_odd_filters_are_answered_or_refused_by_every_list(db: Database, value: str) -> None:
    await fund(db)
    async with serving(db, keyed=True) as client:
        for method, route in _routes():
            for parameter in _parameters(route.dependant, "query_params"):
                sent = f"{_address(route.path, 'ALICE')}?{parameter.alias}={value}"
                _is_no_server_error(await client.request(method, sent), sent)


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 201, "\x7f", "é", "a\tb"])
async def test_malformed_idempotency_keys_are_refused_by_every_route_that_takes_one(db: Database, key: str) -> None:
    await fund(db)
    async with serving(db, keyed=True) as client:
        for method, route in _routes():
            if any(parameter.alias == "idempotency-key" for parameter in _parameters(route.dependant, "header_params")):
                response = await client.request(
                    method,
                    _address(route.path),
                    json=BODIES.get((method, route.path)),
                    headers=[(b"idempotency-key", key.encode("latin-1"))],
                )
                assert (response.status_code, code_of(response)) == (422, "validation_failed"), route.path


BAD_AMOUNTS = [
    "0", "-1", "0.001", "10.005", "1e400", "NaN", "Infinity", '"NaN"', '"Infinity"', '"1e3"', '"0x10"', '""', '" 1"', '"1,5"',
    '"0.00"', "12345678901234567890", '"12345678901234567890"', "1" + "0" * 18, "null", "true", "[]", "{}",
]  # fmt: skip


@pytest.mark.parametrize("amount", BAD_AMOUNTS)
async def test_an_impossible_amount_moves_nothing(db: Database, amount: str) -> None:
    await fund(db)
    async with serving(db, keyed=True) as client:
        for path, place in (
            ("/v1/transfers", ("amount", "amount")),
            ("/transfers", ("amount",)),
            ("/transfers/persisted", ("amount",)),
        ):
            sent = _with(BODIES["POST", path], place, amount)
            response = await client.post(path, content=sent, headers=_JSON)
            assert response.status_code == 422, (path, response.text)
            assert code_of(response).startswith(("amount_", "json_", "validation_failed"))
        assert (await client.get("/v1/transfers")).json()["items"] == []
        assert (await client.get("/v1/accounts/ALICE")).json()["posted"] == "1000.00"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"to_account": "ALICE"}, 422, "same_account"),
        ({"to_account": "nobody"}, 404, "unknown_account"),
        ({"from_account": "nobody"}, 404, "unknown_account"),
        ({"to_account": "EURO"}, 422, "currency_mismatch"),
        ({"amount": {"amount": "1", "currency": "EUR"}}, 422, "currency_mismatch"),
        ({"amount": {"amount": "1", "currency": "XXX"}}, 422, "currency_mismatch"),
        ({"amount": {"amount": "1"}}, 422, "validation_failed"),
        ({"amount": "1"}, 422, "validation_failed"),
        ({"settle": "later"}, 422, "validation_failed"),
        ({"extra": 1}, 422, "validation_failed"),
        ({"description": "x" * 501}, 422, "validation_failed"),
    ],
)
async def test_an_impossible_transfer_is_refused_with_its_code(
    db: Database, change: dict[str, Any], status: int, code: str
) -> None:
    await fund(db)
    async with serving(db, keyed=True) as client:
        response = await client.post("/v1/transfers", json=BODIES["POST", "/v1/transfers"] | change)
    assert (response.status_code, code_of(response)) == (status, code)


async def test_a_refusal_says_where_and_why_and_does_not_echo_what_was_sent(db: Database) -> None:
    secret = "my-secret-value"
    async with serving(db, keyed=True) as client:
        response = await client.post("/v1/events", json={"agent": secret + " ", "type": 5, "payload": [secret]})
    assert secret not in response.text
    assert {violation["pointer"] for violation in response.json()["errors"]} == {"/agent", "/type", "/payload"}
    assert all(set(violation) == {"in", "pointer", "code", "detail"} for violation in response.json()["errors"])
