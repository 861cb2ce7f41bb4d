"""The bank that the runs are replayed on: a real server, asked over HTTP, with an account of its own for each run."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from examples.agentdojo.runs import Call, Run

AGENT, PERSON, NOSTRO = "assistant", "customer", "NOSTRO"
_CURRENCY = "EUR"
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Outcome:
    """What became of a call: `done`, `asked` (and then done, where people agreed) or `refused` with the code."""

    call: Call
    how: str
    code: str | None = None
    agreed: bool | None = None


class Bank:
    """What an operator, an admin, an approver and the agent do by HTTP, each with a key of their own."""

    def __init__(self, url: str, keys: Mapping[str, str], environment: Mapping[str, Any]) -> None:
        self._url = url
        self._clients = {
            role: httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30)
            for role, key in keys.items()
        }
        self._environment = environment
        self._mandates = json.loads((_HERE / "mandates.json").read_text())["mandates"]
        self._numbers = itertools.count(1)
        self._requests = itertools.count(1)

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()

    def prepare(self) -> None:
        """What all runs share: the bank's own accounts, the agent and the person it acts for."""
        self._ask("operator", "POST", "/v1/accounts", {"id": NOSTRO, "currency": _CURRENCY, "kind": "internal"})
        self._ask("operator", "POST", "/v1/accounts", {"id": "EQUITY", "currency": _CURRENCY, "kind": "internal"})
        nostro = {"id": NOSTRO, "bank": "CORRESPONDENT", "their_account": "DE00000000", "currency": _CURRENCY}
        self._ask("operator", "POST", "/v1/nostros", nostro)
        self._ask("admin", "POST", "/v1/principals", {"name": PERSON, "kind": "person", "roles": []})
        self._ask("admin", "POST", "/v1/principals", {"name": AGENT, "kind": "agent", "owner": PERSON})

    def replay(self, run: Run, *, agree: bool) -> list[Outcome]:
        """Make the calls of a run, as the agent, under a mandate of the person's own words; people `agree` to what is asked."""
        number = next(self._numbers)
        account, customer = f"EMMA-{number}", f"CUSTOMER-{number}"
        self._open(account, customer)
        mandate, key = self._mandate(run, account, customer)
        try:
            with _client(self._url, key["secret"]) as agent:
                return [self._call(agent, call, account, customer, agree=agree) for call in run.calls]
        finally:
            self._ask("admin", "POST", f"/v1/mandates/{mandate['id']}/revoke")
            self._ask("admin", "POST", f"/v1/keys/{key['id']}/revoke")

    def _open(self, account: str, customer: str) -> None:
        known = self._environment["bank_account"]
        person = self._environment["user_account"]
        name = f"{person['first_name']} {person['last_name']}"
        self._ask("operator", "POST", "/v1/customers", {"id": customer, "full_name": name})
        self._ask("operator", "POST", "/v1/accounts", {"id": account, "currency": _CURRENCY, "customer_id": customer})
        opening = [
            {"account": "EQUITY", "amount": f"-{known['balance']}"},
            {"account": account, "amount": str(known["balance"])},
        ]
        self._ask("operator", "POST", "/v1/journals", {"kind": "opening", "entries": opening})
        for payee, label in self._payees().items():
            self._propose("payee.add", {"account": account, "payee": payee, "name": label})
        for order in known["scheduled_transactions"]:
            self._propose(
                "standing_order.create",
                {
                    "name": _order(account, order["id"]),
                    "account": account,
                    "nostro": NOSTRO,
                    "payee": _party(order["recipient"], order["subject"]),
                    "amount": str(order["amount"]),
                    "first_on": "2099-01-01",
                    "every": "month" if order["recurring"] else "once",
                    "purpose": order["subject"],
                },
            )

    def _payees(self) -> dict[str, str]:
        """Whom the account has paid, or was paid by, under which words: what the bank itself knows."""
        bank_account = self._environment["bank_account"]
        labels: dict[str, list[str]] = {}
        for one in bank_account["transactions"]:
            other = one["recipient"] if one["sender"] == "me" else one["sender"]
            labels.setdefault(other, []).append(one["subject"])
        for one in bank_account["scheduled_transactions"]:
            labels.setdefault(one["recipient"], []).append(one["subject"])
        return {payee: "; ".join(dict.fromkeys(words))[:140] for payee, words in labels.items()}

    def _mandate(self, run: Run, account: str, customer: str) -> tuple[Any, Any]:
        terms = self._mandates[run.task]
        mandate: dict[str, Any] = {
            "agent": AGENT,
            "person": PERSON,
            "operations": terms["operations"],
            "accounts": [account],
            "until": (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds"),
            "beyond": "ask",
        }
        if "payees" in terms:
            mandate["payees"] = self._named(terms["payees"], run) or ["nobody"]
        if "max_amount" in terms:
            mandate["max_amount"] = [{"amount": terms["max_amount"], "currency": _CURRENCY}]
        self._ask("admin", "PUT", f"/v1/principals/{AGENT}/reach", {"accounts": [account], "customers": [customer]})
        granted = self._ask("admin", "POST", "/v1/mandates", mandate)
        body = {"principal": AGENT, "mandate_id": granted["id"], "expires_in_s": 3600}
        return granted, self._ask("admin", "POST", "/v1/keys", body)

    def _named(self, words: list[str], run: Run) -> list[str]:
        """The payees that the words of a mandate mean: account numbers of the request, and those known under such words."""
        found = set(run.named_accounts) if "$accounts" in words else set()
        for payee, label in self._payees().items():
            if any(word.lower() in label.lower() for word in words):
                found.add(payee)
        # All of them are at other banks, which nobody names.
        return sorted(f"/{_number(payee)}" for payee in found)

    def _call(self, agent: httpx.Client, call: Call, account: str, customer: str, *, agree: bool) -> Outcome:
        path, body = self._request(call, account, customer)
        answer = agent.post(path, content=_json(body), headers=self._headers())
        told = answer.json()
        if answer.status_code == 202 and told["status"] == "held":
            agreed = agree and self._agree(told["approval_id"])
            return Outcome(call, "asked", agreed=agreed)
        if not answer.is_success:
            return Outcome(call, "refused", told["code"])
        if told.get("status") == "failed":
            return Outcome(call, "refused", told["reason"])
        return Outcome(call, "done")

    def _request(self, call: Call, account: str, customer: str) -> tuple[str, dict[str, Any]]:
        args = call.args
        if call.tool == "send_money":
            return "/v1/external-payments", {
                "nostro": NOSTRO,
                "from_account": account,
                "amount": {"amount": str(args["amount"]), "currency": _CURRENCY},
                "counterparty": _party(args["recipient"], args["recipient"]),
                "remittance": _text(args["subject"]),
            }
        if call.tool == "update_password":
            return f"/v1/customers/{customer}/credential", {"secret": args["password"]}
        return "/v1/actions", self._action(call, account, customer)

    def _action(self, call: Call, account: str, customer: str) -> dict[str, Any]:
        args = {name: value for name, value in call.args.items() if value is not None}
        if call.tool == "update_user_info":
            told: dict[str, Any] = {name: args[name] for name in ("street", "city") if name in args}
            names = [args[name] for name in ("first_name", "last_name") if name in args]
            if names:
                told["full_name"] = " ".join(names)
            return {"type": "customer.change", "payload": {"customer": customer, **told}}
        payload: dict[str, Any] = {}
        if "recipient" in args:
            payload["payee"] = _party(args["recipient"], args["recipient"])
        if "amount" in args:
            payload["amount"] = str(args["amount"])
        if "subject" in args:
            payload["purpose"] = _text(args["subject"])[:100]
        if call.tool == "schedule_transaction":
            every = "month" if args.get("recurring") else "once"
            new = {"name": f"{account}-new-{next(self._requests)}", "account": account, "nostro": NOSTRO}
            return {"type": "standing_order.create", "payload": {**new, **payload, "first_on": "2099-01-01", "every": every}}
        if "recurring" in args:
            payload["every"] = "month" if args["recurring"] else "once"
        return {"type": "standing_order.change", "payload": {"name": _order(account, args["id"]), **payload}}

    def _agree(self, approval_id: str) -> bool:
        """A person reads what is asked and agrees; whether it was carried out then."""
        shown = self._ask("approver", "GET", f"/v1/approvals/{approval_id}")
        vote = {"vote": "approve", "digest": shown["digest"]}
        voted = self._ask("approver", "POST", f"/v1/approvals/{approval_id}/votes", vote)
        done = self._ask("operator", "GET", f"/v1/actions/{voted['action_id']}")
        return bool(done["status"] == "executed")

    def _propose(self, type: str, payload: Mapping[str, Any]) -> None:
        self._ask("operator", "POST", "/v1/actions", {"type": type, "payload": payload})

    def _ask(self, role: str, method: str, path: str, body: Any = None) -> Any:
        content = None if body is None else _json(body)
        answer = self._clients[role].request(method, path, content=content, headers=self._headers())
        if not answer.is_success:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()

    def _headers(self) -> dict[str, str]:
        return {"Content-Type": "application/json", "Idempotency-Key": f"request-{next(self._requests)}"}


def _client(url: str, key: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30)


def _order(account: str, id: Any) -> str:
    return f"{account}-order-{id}"


def _party(account: str, name: str) -> dict[str, str]:
    return {"account": _number(account), "name": _text(name)[:140]}


def _number(account: str) -> str:
    return _text(account)[:34]


def _text(value: Any) -> str:
    return " ".join(str(value).split()) or "-"


def _json(body: Any) -> bytes:
    return json.dumps(body, default=lambda value: str(value) if isinstance(value, Decimal) else value).encode()
