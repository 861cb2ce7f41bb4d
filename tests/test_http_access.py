"""Every route, by every role, with own objects and with others': from the application, so that a new route is in it."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from tallystick import customers, identity, policy
from tallystick.db import Database
from tallystick.http import HttpSettings, access, create_app
from tests.serving import OPEN, code_of, fund, serving
from tests.test_http_bad_input import BODIES

_CLOSED = HttpSettings(key_cache_s=0)
_MONEY = {"amount": "1.00", "currency": "CZK"}
Body = dict[str, Any]


def _routes() -> list[tuple[str, APIRoute]]:
    app = create_app(OPEN, Database("host=/nowhere"))
    return sorted(
        ((method, route) for route in app.routes if isinstance(route, APIRoute) for method in route.methods or ()),
        key=lambda found: (found[1].path, found[0]),
    )


ROUTES = _routes()
AUTHORITY = re.compile(r"/v1/(principals|keys|mandates|me)\b")
ROLES = ("agent", "operator", "approver", "auditor", "admin", "none")


def test_every_route_is_in_the_table_and_the_table_has_no_other() -> None:
    assert {(method, route.path) for method, route in ROUTES} == set(access.TABLE)


def test_a_route_that_is_not_in_the_table_is_for_nobody() -> None:
    rule = access.rule_of("GET", "/v1/new")
    for role in identity.ROLES:
        with pytest.raises(Exception, match="role_missing"):
            rule.check_role(identity.Principal("x", "person", frozenset({role})))


def test_the_roles_keep_to_what_they_are_for() -> None:
    for (method, path), rule in access.TABLE.items():
        reads = method == "GET"
        if rule.roles is access.ANYBODY:
            assert path in ("/v1/me", "/v1/action-types") or path.startswith(("/v1/mandates", "/v1/approvals")), path
            continue
        if AUTHORITY.match(path):
            assert rule.roles == ({"admin", "auditor"} if reads else {"admin"}), path
            continue
        if path.startswith(("/v1/approvals", "/v1/webhooks", "/v1/actions", "/v1/polic", "/v1/decisions")):
            # Policy says who is asked; who is told, admins do; and whoever is asked sees what about.
            assert "agent" not in rule.roles or path.startswith(("/v1/actions", "/v1/decisions")), path
            continue
        # An admin gives authority and has none over money; an auditor reads; an approver reads and answers.
        assert "admin" not in rule.roles or path in ("/v1/audit/status",), path
        assert reads or "auditor" not in rule.roles, path
        assert reads or "approver" not in rule.roles or path == "/v1/tasks/{task_id}/answers", path
        # Whatever may be read, auditors and approvers and operators read.
        assert not reads or rule.roles >= {"operator", "auditor"}, path
        # What steers the house is no agent's.
        if re.match(r"/v1/(work/|schedules|calendars|business-days|nostros|reconciliations|journals(/batch)?$|audit)", path):
            assert reads or "agent" not in rule.roles, path


@pytest.fixture
async def bank(db: Database) -> dict[str, Any]:
    """Two halves of a bank, MINE and THEIRS, each with one thing of each kind; and a key for each role."""
    await fund(db, "MINE", "THEIRS")
    found: dict[str, Any] = {}
    async with db.write() as tx:
        added = await customers.add(
            tx, [customers.NewCustomer(name, f"{name} NAME", None, None, None) for name in ("C-MINE", "C-THEIRS")], by="test"
        )
        found["customers"] = [customer.id for customer in added]
        await identity.add_principal(tx, "anna", kind="person", by="test")
        for role in ROLES:
            kind = "agent" if role == "agent" else "person"
            name = f"is-{role}"
            roles = [] if role == "none" else [role]
            key = await identity.create_key(
                tx, name, kind=kind, roles=roles, owner="anna" if kind == "agent" else None, by="test"
            )
            found[role] = key.secret
        for name, kind, roles in (
            ("bot", "agent", ["agent"]),
            ("other", "agent", ["agent"]),
            ("clerk", "person", ["operator", "approver", "auditor"]),
        ):
            owner = "anna" if kind == "agent" else None
            found[name] = (await identity.create_key(tx, name, kind=kind, roles=roles, owner=owner, by="test")).secret
            await identity.set_reach(tx, name, accounts=["MINE"], customers=[added[0].id], by="test")
        asks = {"id": "asks", "when": {"action": "payee.add"}, "hold": True}
        asks |= {"approve": [{"role": "approver", "people": 1}], "expires": "1h"}
        await policy.apply(tx, {"name": "t", "rules": [asks, {"id": "all", "allow": True}]}, by="test")
        await identity.set_reach(tx, "other", accounts=["THEIRS"], customers=[added[1].id], by="test")
    for name, half in (("bot", "MINE"), ("other", "THEIRS")):
        async with serving(db, _CLOSED, keyed=True) as client:
            client.headers["authorization"] = f"Bearer {found[name]}"
            body = {"type": "payee.add", "payload": {"account": half, "payee": half}}
            held = await client.post("/v1/actions", json=body)
            assert held.status_code == 202, held.text
            found[half] = {name: held.json()[name] for name in ("action_id", "approval_id", "decision_id")}
    async with serving(db, OPEN, keyed=True) as client:
        await _made(client, "/v1/nostros", id="NOSTRO-1", bank="KOMBCZPP", their_account="CZ65", currency="CZK")
        for half, agent in (("MINE", "bot"), ("THEIRS", "other")):
            transfer = await _made(
                client, "/v1/transfers", from_account=half, to_account="BANK", amount=_MONEY, settle="now", description=half
            )
            hold = await _made(client, "/v1/holds", account=half, amount=_MONEY, kind="hold", meta={"of": half})
            request = await _made(
                client, "/v1/cases", customer_id=f"C-{half}", type="trade_review", door="request",
                payload={"symbol": half, "notional": 1},
            )  # fmt: skip
            event = await _made(client, "/v1/cases", customer_id=f"C-{half}", type="t", door="event", payload=half)
            task = await _made(client, "/v1/tasks", agent=agent, type="t", payload={"of": half})
            await _made(client, "/v1/events", agent=agent, type="t", payload={"of": half})
            payment = await _made(
                client, "/v1/external-payments", nostro="NOSTRO-1", from_account=half, amount=_MONEY, end_to_end_id=half,
                counterparty={"name": half, "account": "DE89", "bank": "B"}, remittance=half,
            )  # fmt: skip
            await _made(client, "/v1/portfolios", id=f"P-{half}", account_id=half, settlement_account="BANK")
            order = await _made(
                client, "/v1/orders", portfolio=f"P-{half}", instrument=half, side="buy", quantity="1", limit_price="1"
            )  # fmt: skip
            payee = {"name": half, "account": "DE89", "bank": "B"}
            terms = {"name": f"S-{half}", "account": half, "nostro": "NOSTRO-1", "payee": payee, "amount": "1.00"}
            await _made(client, "/v1/actions", type="standing_order.create", payload=terms | {"first_on": "2030-01-01"})
            found[half] |= {
                "standing_order": f"S-{half}", "portfolio_id": f"P-{half}", "order_id": order["id"],
                "account_id": half, "transfer_id": transfer["id"], "journal_id": transfer["journal_id"], "hold_id": hold["id"],
                "customer_id": f"C-{half}", "case_id": request["id"], "request_id": request["id"], "event_id": event["id"],
                "task_id": task["id"], "payment_id": payment["id"], "agent": agent,
            }  # fmt: skip
    found["UNKNOWN"] = {name: "987654321" if value.isdigit() else "NOBODY" for name, value in found["MINE"].items()}
    return found


async def _made(client: httpx.AsyncClient, path: str, **body: Any) -> Any:
    answer = await client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


OTHER_PARAMETERS = {
    "worker_id": "987650000", "nostro_id": "NOSTRO-1", "reconciliation_id": "1", "business_date": "2026-04-21", "name": "bot",
    "webhook_id": "987650000", "digest": "0" * 64, "login_id": "987650000",
    "agent": "bot", "type": "t", "kind": "agent", "key_id": "987650000", "mandate_id": "987650000", "agent_name": "bot",
}  # fmt: skip
"""Parts of addresses that name no object of a customer's."""


def _address(path: str, objects: dict[str, str]) -> str:
    """The address with its objects. Fails where a part of it is of a kind that nobody has thought of."""
    return re.sub(r"\{([a-z_]+)\}", lambda found: (OTHER_PARAMETERS | objects)[found[1]], path)


def _body(body: Any, objects: dict[str, str], key: str = "") -> Any:
    """A good body that names these objects."""
    if isinstance(body, dict):
        return {name: _body(value, objects, name) for name, value in body.items()}
    if isinstance(body, list):
        return [_body(value, objects, key) for value in body]
    named = {
        "account": objects["account_id"], "account_id": objects["account_id"],
        "from_account": objects["account_id"], "paid_from": objects["account_id"],
        "to_account": "BANK", "settlement_account": "BANK", "portfolio": objects["portfolio_id"],
        "customer_id": objects["customer_id"], "client_id": objects["customer_id"],
        "agent": objects["agent"], "agents": objects["agent"], "agent_name": objects["agent"], "id": objects["task_id"],
    }  # fmt: skip
    return named.get(key, body) if isinstance(body, str) else body


async def _call(client: httpx.AsyncClient, key: str, method: str, path: str, objects: dict[str, str]) -> httpx.Response:
    body = BODIES.get((method, path))
    asked = {"status": "processing"} if path.startswith("/events/") else {"from": "2026-01-01", "to": "2026-02-01"}
    asked |= {"account": objects["account_id"], "account_id": objects["account_id"], "portfolio": objects["portfolio_id"]}
    asked |= {"customer_id": objects["customer_id"]}
    if path == "/v1/audit/timeline":
        asked = {"kind": "account", "id": objects["account_id"]}
    takes = next((getattr(route, "queries", None) for at, route in ROUTES if (at, route.path) == (method, path)), None)
    if takes is not None:
        asked = {name: value for name, value in asked.items() if name in takes}
    own_id = method == "POST" and path in ("/v1/accounts", "/v1/customers", "/v1/nostros", "/v1/portfolios")
    sent = None if body is None else _body(body, objects)
    if sent is not None and own_id:
        sent["id"] = "ANOTHER"
    headers = {"authorization": f"Bearer {key}"}
    return await client.request(method, _address(path, objects), params=asked, json=sent, headers=headers)


async def test_every_route_is_closed_to_every_role_that_it_is_not_for(db: Database, bank: dict[str, Any]) -> None:
    tried = 0
    async with serving(db, _CLOSED, keyed=True) as client:
        for method, route in ROUTES:
            rule = access.TABLE[method, route.path]
            for role in ROLES:
                refused = rule.roles is not access.ANYBODY and role not in rule.roles
                if not refused and role != "auditor":
                    continue
                answer = await _call(client, bank[role], method, route.path, bank["UNKNOWN"])
                if refused:
                    assert (answer.status_code, code_of(answer)) == (403, "role_missing"), (method, route.path, role)
                    tried += 1
                elif answer.status_code == 403:
                    assert code_of(answer) != "role_missing" or route.path == "/v1/mandates", (method, route.path, role)
    assert tried > 300


def _told(answer: httpx.Response, objects: dict[str, str]) -> tuple[int, str]:
    """An answer without what tells requests apart: its id, and the names of the objects that were asked for."""
    text = re.sub(r'"request_id":"[^"]*"', "", answer.text)
    for name in sorted(set(objects.values()), key=len, reverse=True):
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "X", text)
    return answer.status_code, text


@pytest.mark.parametrize("who", ["bot", "clerk"])
async def test_others_objects_are_answered_like_those_that_do_not_exist(db: Database, bank: dict[str, Any], who: str) -> None:
    reached = 0
    async with serving(db, _CLOSED, keyed=True) as client:
        for method, route in ROUTES:
            if AUTHORITY.match(route.path):
                continue
            theirs, unknown = [
                _told(await _call(client, bank[who], method, route.path, bank[half]), bank[half])
                for half in ("THEIRS", "UNKNOWN")
            ]
            assert "THEIRS" not in theirs[1], (method, route.path)
            if theirs[0] >= 400 or set(re.findall(r"{([a-z_]+)}", route.path)) & set(bank["MINE"]):
                assert theirs == unknown, (method, route.path)
            else:
                assert theirs[0] == unknown[0], (method, route.path)
                assert method == "GET" or _names_nothing(route), (method, route.path, theirs)
            mine = await _call(client, bank[who], method, route.path, bank["MINE"])
            assert mine.status_code != 401
            assert "THEIRS" not in mine.text, (method, route.path)
            if mine.status_code == 403:
                refusals = ("role_missing", "reach_missing", "people_only", "agents_never_vote", "not_the_maker")
                assert code_of(mine) in refusals, (method, route.path, mine.text)
            elif mine.status_code == 404:
                # What comes in goes to an account within reach, and what is taken back was between such accounts alone.
                known = ("/v1/external-payments/incoming", "/v1/journals/{journal_id}/reversals")
                # An action is seen by who proposed it and by those who see all, a question by those in whose reach it is.
                others = code_of(mine) == "unknown_review" or (
                    who == "clerk" and route.path.startswith(("/v1/actions", "/v1/decisions"))
                )
                assert code_of(mine) == "unknown_calendar" or route.path in known or others, (route.path, mine.text)
            else:
                reached += 1
    assert reached > 30


def _names_nothing(route: APIRoute) -> bool:
    """Whether a route that changes something names no object of a customer's: it is about the caller alone."""
    return route.path.startswith(("/v1/workers", "/v1/accounts", "/v1/customers"))


async def test_lists_leave_out_what_lies_outside_and_pages_stay_right(db: Database, bank: dict[str, Any]) -> None:
    listed = 0
    async with serving(db, _CLOSED) as client:
        for method, route in ROUTES:
            if method != "GET" or "{" in route.path or AUTHORITY.match(route.path) or "audit" in route.path:
                continue
            everything = await client.get(route.path, headers={"authorization": f"Bearer {bank['operator']}"})
            for who in ("bot", "clerk"):
                some = await client.get(route.path, headers={"authorization": f"Bearer {bank[who]}"})
                assert "THEIRS" not in some.text, route.path
                assert '"other"' not in some.text, route.path
                if some.status_code == 200 and "THEIRS" in everything.text:
                    if route.path in ("/v1/events", "/v1/actions", "/v1/decisions") and who == "clerk":
                        # What agents tell each other and propose is for those who see all, or who told it.
                        assert some.json()["items"] == []
                        continue
                    assert "MINE" in some.text, (route.path, who)
                    listed += 1
                    if route.path.startswith("/v1/"):
                        first = await client.get(
                            route.path, params={"limit": 1}, headers={"authorization": f"Bearer {bank[who]}"}
                        )
                        assert len(first.json()["items"]) == 1, route.path
    assert listed >= 12


async def test_of_a_journal_those_entries_are_seen_whose_accounts_are(db: Database, bank: dict[str, Any]) -> None:
    async with serving(db, _CLOSED) as client:
        answer = await client.get(
            f"/v1/journals/{bank['MINE']['journal_id']}", headers={"authorization": f"Bearer {bank['clerk']}"}
        )
    assert [entry["account_id"] for entry in answer.json()["entries"]] == ["MINE"]


async def test_an_agent_pays_from_its_accounts_to_anybody_s(db: Database, bank: dict[str, Any]) -> None:
    async with serving(db, _CLOSED, keyed=True) as client:
        client.headers["authorization"] = f"Bearer {bank['bot']}"
        body = {"from_account": "MINE", "to_account": "THEIRS", "amount": _MONEY}
        assert (await client.post("/v1/transfers", json=body)).status_code in (201, 202)
        answer = await client.post("/v1/transfers", json=body | {"from_account": "THEIRS", "to_account": "MINE"})
        assert (answer.status_code, code_of(answer)) == (404, "unknown_account")


async def test_an_agent_speaks_in_its_own_name(db: Database, bank: dict[str, Any]) -> None:
    async with serving(db, _CLOSED, keyed=True) as client:
        client.headers["authorization"] = f"Bearer {bank['bot']}"
        for path, body in (
            ("/v1/events", {"agent": "other", "type": "t", "payload": {}}),
            ("/agent-events", {"agent_name": "other", "event_type": "t", "payload": {}}),
            ("/v1/tasks", {"agent": "other", "type": "t", "payload": {}}),
            ("/v1/tasks/claim", {"agents": ["bot", "other"]}),
        ):
            answer = await client.post(path, json=body)
            assert (answer.status_code, code_of(answer)) == (403, "another_agent"), path
        (claimed,) = (await client.post("/v1/tasks/claim", json={"agents": ["bot"]})).json()["items"]
        assert claimed["id"] == bank["MINE"]["task_id"]


async def test_a_witness_without_a_role_reads_hashes_and_no_leaves(db: Database, bank: dict[str, Any]) -> None:
    async with serving(db, _CLOSED) as client:
        for who, code in (("none", "role_missing"), ("agent", "role_missing"), ("clerk", "reach_missing")):
            answer = await client.get("/record/tile/entries/000", headers={"authorization": f"Bearer {bank[who]}"})
            assert (answer.status_code, code_of(answer)) == (403, code)


def _proposals(objects: dict[str, str]) -> dict[str, list[Any]]:
    """By type of action, payloads about these objects: good ones, and some that would be refused for another reason."""
    account, customer, hold = objects["account_id"], objects["customer_id"], objects["hold_id"]
    odd = [{"amount": "1.00", "currency": "EUR"}, {"amount": "0.001"}]
    entries = [{"account": account, "amount": "-1.00"}, {"account": "BANK", "amount": "1.00"}]
    payee = {"name": "N", "account": "DE89", "bank": "B"}
    send: dict[str, Any] = {"nostro": "NOSTRO-1", "account": account, "amount": "1.00", "counterparty": payee}
    receive = {"nostro": "NOSTRO-1", "beneficiary": account, "amount": "1.00", "counterparty": payee}
    order = {
        "name": "NEW",
        "account": account,
        "nostro": "NOSTRO-1",
        "payee": payee,
        "amount": "1.00",
        "first_on": "2030-01-01",
    }
    place = {"portfolio": objects["portfolio_id"], "instrument": "X", "side": "buy", "quantity": "1"}
    return {
        "account.limit": [{"account": account, "limit": "1.00"}, {"account": account, "limit": "0.001"}],
        "account.open": [{"account": "NEW", "currency": "CZK", "customer": customer}],
        "account.status": [{"account": account, "status": "frozen"}],
        "case.process": [{"case": objects["case_id"]}],
        "case.status": [
            {"case": objects["event_id"], "status": "approved"},
            {"case": objects["event_id"], "status": "nothing"},
        ],
        "customer.change": [{"customer": customer, "city": "Brno"}, {"customer": customer}],
        "hold.capture": [{"hold": hold, "to_account": "BANK", "amount": "1.00"}, {"hold": hold, "to_account": "EURO"}],
        "hold.place": [{"holds": [{"account": account, "amount": "1.00", "kind": "hold"} | one]} for one in ({}, *odd)],
        "hold.release": [{"hold": hold}],
        "journal.post": [{"journals": [{"kind": "t", "entries": entries}]}],
        "journal.reverse": [{"journal": objects["journal_id"]} | one for one in ({}, *odd)],
        "order.cancel": [{"order": objects["order_id"]}],
        "order.fill": [{"order": objects["order_id"], "quantity": "1", "price": "1"}],
        "order.place": [place, place | {"limit_price": "1"}, place | {"quantity": "0"}],
        "payee.add": [{"account": account, "payee": "DE89"}],
        "payment.move": [{"payment": objects["payment_id"], "status": status} for status in ("released", "settled", "nothing")],
        "payment.receive": [receive, receive | {"amount": "0.001"}],
        "payment.send": [send, send | {"amount": "0.001"}, send | {"currency": "EUR"}],
        "portfolio.open": [{"portfolio": "NEW", "account": account, "settlement": "BANK"}],
        "standing_order.change": [{"name": objects["standing_order"], "amount": "2.00"}, {"name": objects["standing_order"]}],
        "standing_order.create": [order, order | {"amount": "0.001"}],
        "subject.erase": [{"subject": objects["number"], "reason": "asked"}, {"subject": objects["number"], "reason": " "}],
    }


@pytest.mark.parametrize("who", ["bot", "clerk"])
async def test_actions_by_name_about_others_objects_are_answered_as_about_unknown_ones(
    db: Database, bank: dict[str, Any], who: str
) -> None:
    numbers = {"MINE": str(bank["customers"][0]), "THEIRS": str(bank["customers"][1]), "UNKNOWN": "987654321"}
    objects = {half: bank[half] | {"number": number} for half, number in numbers.items()}
    proposals = {half: _proposals(objects[half]) for half in numbers}
    async with serving(db, _CLOSED, keyed=True) as client:
        kinds = (await client.get("/v1/action-types", headers={"authorization": f"Bearer {bank[who]}"})).json()["items"]
        others = {"customer.credential", "policy.apply"}
        # Names of ours have a dot; a test of plug-ins may have left a type without one.
        ours = {kind["name"] for kind in kinds if kind["proposable"] and "." in kind["name"]}
        assert ours == proposals["MINE"].keys() | others

        async def told(half: str, type: str, payload: Any) -> tuple[int, str]:
            body = {"type": type, "payload": payload}
            answer = await client.post("/v1/actions", json=body, headers={"authorization": f"Bearer {bank[who]}"})
            return _told(answer, objects[half])

        for type, theirs in proposals["THEIRS"].items():
            for payload, of_nobody in zip(theirs, proposals["UNKNOWN"][type], strict=True):
                answer = await told("THEIRS", type, payload)
                assert answer == await told("UNKNOWN", type, of_nobody), (type, payload)
                assert answer[0] in (403, 404, 422), (type, answer)
        for type, mine in proposals["MINE"].items():
            status, text = await told("MINE", type, mine[0])
            # Of a journal each account has to be within reach, and the bank's own is not.
            assert status != 404 or type in ("journal.post", "journal.reverse"), (type, text)
