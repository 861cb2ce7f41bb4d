"""External payments and reconciliation over HTTP and at the command line."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from tallystick import ledger
from tallystick.cli.main import app as command
from tallystick.db import Database
from tests.conftest import TestDatabase
from tests.serving import code_of, fund, serving
from tests.test_http_bad_input import BODIES, ODD_VALUES, _address, _places, _with

NOSTRO = {"id": "NOSTRO-1", "bank": "KOMBCZPP", "their_account": "CZ65 0800", "currency": "CZK"}
MONEY = {"amount": "100.00", "currency": "CZK"}
OUT = {
    "nostro": "NOSTRO-1", "from_account": "ALICE", "amount": MONEY, "end_to_end_id": "E2E-1",
    "counterparty": {"name": "Jana Nova", "account": "DE89"}, "remittance": "rent",
}  # fmt: skip
IN = {"nostro": "NOSTRO-1", "to_account": "ALICE", "amount": MONEY}
CSV = b"amount,booked_on,end_to_end_id,reference\n-100.00,2026-03-01,E2E-1,R1\n5.00,2026-03-01,,R2\n"
_keys = (f"key-{number}" for number in itertools.count())


async def _post(client: httpx.AsyncClient, path: str, body: Any = None, key: str | None = None) -> httpx.Response:
    return await client.post(path, json=body, headers={"idempotency-key": key or next(_keys)})


async def _upload(
    client: httpx.AsyncClient, content: bytes = CSV, form: str = "text/csv", key: str | None = None, **query: Any
) -> httpx.Response:
    headers = {"content-type": form, "idempotency-key": key or next(_keys)}
    return await client.post("/v1/nostros/NOSTRO-1/statements", content=content, headers=headers, params=query)


async def test_a_nostro_is_made_once_under_its_key_and_read_again(db: Database) -> None:
    async with serving(db) as client:
        made, again = [await _post(client, "/v1/nostros", NOSTRO, "k") for _ in range(2)]
        other = await _post(client, "/v1/nostros", NOSTRO)
        read = await client.get("/v1/nostros/NOSTRO-1")
        listed = await client.get("/v1/nostros")
        unknown = await client.get("/v1/nostros/NOSTRO-2")
    assert (made.status_code, made.json()) == (201, again.json())
    assert read.json() == made.json() | {"their_account": "CZ650800", "clearing_account": "NOSTRO-1:clearing"}
    assert listed.json() == {"items": [made.json()], "next_cursor": None}
    assert (other.status_code, code_of(other)) == (409, "nostro_exists")
    assert (unknown.status_code, code_of(unknown)) == (404, "unknown_nostro")


async def test_a_payment_out_goes_its_way_and_tells_every_step(db: Database) -> None:
    await fund(db)
    async with serving(db) as client:
        await _post(client, "/v1/nostros", NOSTRO)
        made = await _post(client, "/v1/external-payments", OUT, "k")
        sent = await _post(client, "/v1/external-payments/1/sent", key="s")
        settled = await _post(client, "/v1/external-payments/1/settled", {"booked_on": "2026-03-01"})
        again = await _post(client, "/v1/external-payments", OUT, "k")
        sent_again = await _post(client, "/v1/external-payments/1/sent", key="s")
        cancelled = await _post(client, "/v1/external-payments/1/cancelled")
        read = await client.get("/v1/external-payments/1")
        (entry,) = (await client.get("/v1/accounts/NOSTRO-1/entries")).json()["items"]
    assert (made.status_code, sent.status_code, settled.status_code) == (201, 200, 200)
    assert again.json() == made.json()
    assert sent_again.json() == sent.json()
    assert (cancelled.status_code, code_of(cancelled)) == (409, "impossible_transition")
    answer = read.json()
    assert answer == settled.json()
    assert [step["status"] for step in answer["steps"]] == ["created", "sent", "settled"]
    assert {name: answer[name] for name in ("id", "direction", "status", "nostro", "account", "amount", "remittance")} == {
        "id": "1", "direction": "out", "status": "settled", "nostro": "NOSTRO-1", "account": "ALICE", "amount": MONEY,
        "remittance": "rent",
    }  # fmt: skip
    assert answer["counterparty"] == {"name": "Jana Nova", "account": "DE89", "bank": None}
    assert (entry["amount"], entry["effective_at"][:10]) == ("100.00", "2026-03-01")


async def test_money_of_a_payment_is_not_given_back_past_the_payment(db: Database) -> None:
    await fund(db)
    async with serving(db) as client:
        await _post(client, "/v1/nostros", NOSTRO)
        made = (await _post(client, "/v1/external-payments", OUT)).json()
        incoming = (await _post(client, "/v1/external-payments/incoming", IN)).json()
        journals = [made["steps"][0]["journal_id"], incoming["steps"][0]["journal_id"]]
        back = [await _post(client, f"/v1/journals/{journal}/reversals", {}, "back") for journal in journals]
        part = await _post(client, f"/v1/journals/{journals[0]}/reversals", {"amount": {"amount": "1", "currency": "CZK"}})
        entries = [{"account": "ALICE", "amount": "1"}, {"account": "NOSTRO-1:clearing", "amount": "-1"}]
        chosen = await _post(client, f"/v1/journals/{journals[0]}/reversals", {"entries": entries})
        cancelled = await _post(client, f"/v1/external-payments/{made['id']}/cancelled")
        step = cancelled.json()["steps"][1]["journal_id"]
        last = await _post(client, f"/v1/journals/{step}/reversals", {})
        original = await client.get(f"/v1/journals/{journals[0]}")
        balance = (await client.get("/v1/accounts/ALICE")).json()["posted"]
    answers = [answer.json() for answer in (*back, part, chosen, last)]
    assert [(answer["status"], answer["reason"]) for answer in answers] == [("refused", "not_reversible")] * 5
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert original.json()["reversed_by"] == []
    assert balance == "1100.00"


@pytest.mark.parametrize("kind", ["external_payment_out", "external_payment_settled", "transfer", "accrued_interest"])
async def test_nobody_outside_posts_a_journal_of_the_banks_own_kinds(db: Database, kind: str) -> None:
    await fund(db)
    money = {"amount": "1.00", "currency": "CZK"}
    entries = [{"account": "ALICE", "amount": "-1.00"}, {"account": "BOB", "amount": "1.00"}]
    journal = {"kind": kind, "entries": entries}
    async with serving(db) as client:
        held = (await _post(client, "/v1/holds", {"account": "ALICE", "amount": money})).json()["id"]
        answers = [
            await _post(client, "/v1/journals", journal),
            await _post(client, "/v1/journals", journal | {"dry_run": True}),
            await _post(client, "/v1/journals/batch", {"journals": [journal | {"kind": "test"}, journal]}),
            await _post(client, f"/v1/holds/{held}/captures", {"to_account": "BOB", "amount": money, "kind": kind}),
        ]
        kept = (await client.get("/v1/journals", params={"kind": kind})).json()["items"]
        free = await _post(client, "/v1/journals", journal | {"kind": f"my_{kind}"})
    assert [(answer.status_code, code_of(answer)) for answer in answers] == [(422, "reserved_kind")] * 4
    assert kept == []
    assert free.json()["status"] == "posted"


async def test_a_transfer_is_taken_back_and_its_journal_says_by_what(db: Database) -> None:
    await fund(db)
    wanted = {"from_account": "ALICE", "to_account": "BOB", "amount": MONEY, "settle": "now"}
    async with serving(db) as client:
        transfer = (await _post(client, "/v1/transfers", wanted)).json()
        (journal,) = (await client.get("/v1/journals", params={"kind": "transfer"})).json()["items"]
        back = (await _post(client, f"/v1/journals/{journal['id']}/reversals", {})).json()
        read = (await client.get(f"/v1/journals/{journal['id']}")).json()
    assert (transfer["status"], journal["ref_id"], back["status"]) == ("posted", transfer["id"], "posted")
    assert read["reversed_by"] == [back["id"]]


async def test_money_that_came_in_for_nobody_is_assigned_or_given_back(db: Database) -> None:
    await fund(db)
    async with serving(db) as client:
        await _post(client, "/v1/nostros", NOSTRO)
        received = await _post(client, "/v1/external-payments/incoming", IN)
        for _ in range(2):
            lost = await _post(client, "/v1/external-payments/incoming", IN | {"to_account": "Alice in Wonderland"})
        assigned = await _post(client, "/v1/external-payments/2/assigned", {"account": "BOB"})
        returned = await _post(client, "/v1/external-payments/3/returned", {"reason": "AC01"})
        balances = [(await client.get(f"/v1/accounts/{name}")).json()["posted"] for name in ("ALICE", "BOB", "NOSTRO-1")]
    assert received.json()["status"] == "received"
    assert (lost.status_code, lost.json()["status"], lost.json()["reason"]) == (201, "unmatched", "unknown_account")
    assert (assigned.json()["status"], assigned.json()["account"]) == ("assigned", "BOB")
    assert (returned.json()["status"], returned.json()["reason"]) == ("returned", "AC01")
    assert balances == ["1100.00", "1100.00", "-200.00"]


async def test_a_payment_that_the_business_refuses_is_an_answer(db: Database) -> None:
    await fund(db)
    async with serving(db) as client:
        await _post(client, "/v1/nostros", NOSTRO)
        failed = await _post(client, "/v1/external-payments", OUT | {"amount": {"amount": "5000", "currency": "CZK"}})
        page = await client.get("/v1/external-payments", params={"status": "failed", "direction": "out"})
    assert (failed.status_code, failed.json()["status"], failed.json()["reason"]) == (201, "failed", "insufficient_funds")
    assert page.json() == {"items": [failed.json()], "next_cursor": None}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/external-payments", OUT),
        ("/v1/external-payments/incoming", IN),
        ("/v1/external-payments/1/sent", None),
        ("/v1/external-payments/1/cancelled", None),
        ("/v1/external-payments/1/settled", {}),
        ("/v1/external-payments/1/rejected", {"reason": "x"}),
        ("/v1/external-payments/1/returned", {"reason": "x"}),
        ("/v1/external-payments/1/assigned", {"account": "ALICE"}),
    ],
)
async def test_a_post_that_moves_money_needs_a_key(db: Database, path: str, body: Any) -> None:
    await fund(db)
    async with serving(db) as client:
        await _post(client, "/v1/nostros", NOSTRO)
        await _post(client, "/v1/external-payments", OUT)
        refused = await client.post(path, json=body)
        uploaded = await client.post("/v1/nostros/NOSTRO-1/statements", content=CSV, headers={"content-type": "text/csv"})
        assert len((await client.get("/v1/external-payments")).json()["items"]) == 1
    for response in (refused, uploaded):
        assert (response.status_code, code_of(response)) == (400, "idempotency_key_required")


_MINE = [place for place in BODIES if place[1].startswith(("/v1/external-payments", "/v1/reconciliations", "/v1/nostros"))]


@pytest.mark.parametrize(("method", "path"), _MINE, ids=lambda value: value)
async def test_odd_values_with_a_key_are_answered_or_refused(db: Database, method: str, path: str) -> None:
    await fund(db)
    body = BODIES[method, path]
    async with serving(db) as client:
        await _post(client, "/v1/nostros", NOSTRO)
        await _post(client, "/v1/external-payments", OUT)
        await _upload(client)
        for place in _places(body):
            for literal in (*ODD_VALUES, '"0001-01-01"', '"9999-12-31"'):
                headers = {"content-type": "application/json", "idempotency-key": next(_keys)}
                sent = _with(body, place, literal)
                response = await client.request(method, _address(path), content=sent, headers=headers)
                assert response.status_code < 500, (sent, response.text)
                assert response.status_code < 400 or code_of(response), sent
    async with db.read() as tx:
        assert {row.difference for row in await ledger.trial_balance(tx)} == {0}


async def test_a_statement_is_uploaded_and_its_report_is_read(db: Database) -> None:
    await fund(db)
    async with serving(db) as client:
        await _post(client, "/v1/nostros", NOSTRO)
        await _post(client, "/v1/external-payments", OUT)
        await _post(client, "/v1/external-payments/1/sent")
        first = await _upload(client, key="k")
        again = await _upload(client, key="k")
        settled = await _upload(client, settle="true")
        read = await client.get("/v1/reconciliations/1")
        heads = await client.get("/v1/reconciliations", params={"nostro": "NOSTRO-1"})
        items = await client.get("/v1/reconciliations/1/items", params={"limit": 1})
        rest = await client.get("/v1/reconciliations/1/items", params={"limit": 1, "cursor": items.json()["next_cursor"]})
        missing = await client.get("/v1/reconciliations/1/items", params={"outcome": "missing_in_ledger"})
        explained = await _post(client, "/v1/reconciliations/1/explanations", {"line": 2, "why": "interest"}, "x")
        repeated = await _post(client, "/v1/reconciliations/1/explanations", {"line": 2, "why": "interest"}, "x")
        closed = await _post(client, "/v1/reconciliations/1/explanations", {"line": 2, "why": "interest"})
        matched = await _post(client, "/v1/reconciliations/1/matches", {"line": 2, "entry": 1, "why": "w"})
        unknown = await client.get("/v1/reconciliations/9/items")
        alien = await client.get("/v1/reconciliations/1/items", params={"cursor": "WzEsInJlY29uY2lsaWF0aW9ucyIsMV0="})
    assert (first.status_code, first.json()) == (201, again.json())
    assert first.json()["items"][0]["outcomes"]["missing_in_ledger"] == {"count": 2, "theirs": "-95.00", "ours": "0.00"}
    assert settled.json()["settled"] == 1
    assert read.json() == settled.json()["items"][0]
    assert read.json()["outcomes"]["matched"] == {"count": 1, "theirs": "-100.00", "ours": "-100.00"}
    assert read.json()["closing"] == {"theirs": None, "ours": "-100.00", "difference": None}
    assert [head["id"] for head in heads.json()["items"]] == ["1"]
    assert [(item["line"], item["outcome"]) for item in items.json()["items"]] == [(1, "matched")]
    assert [(item["line"], item["amount"]) for item in rest.json()["items"]] == [(2, "5.00")]
    assert [item["reference"] for item in missing.json()["items"]] == ["R2"]
    assert (explained.status_code, explained.json()["agrees"], repeated.json()) == (201, True, explained.json())
    assert code_of(closed) == code_of(matched) == "not_open"
    assert (unknown.status_code, code_of(unknown)) == (404, "unknown_reconciliation")
    assert code_of(alien) == "cursor_malformed"


@pytest.mark.parametrize(
    ("content", "form", "query", "status", "code"),
    [
        (CSV, "application/json", {}, 415, "unsupported_media_type"),
        (CSV, "", {}, 415, "unsupported_media_type"),
        (b"", "text/csv", {}, 422, "statement_malformed"),
        (b"", "application/xml", {}, 422, "statement_malformed"),
        (b"\xff\xfe", "text/csv; charset=utf-8", {}, 422, "statement_malformed"),
        (b"amount\n1.001\n", "text/csv", {}, 422, "statement_malformed"),
        (b"amount\n1e400\n", "text/csv", {}, 422, "statement_malformed"),
        (b"amount\n" + b"9000000000000000\n" * 12, "text/csv", {}, 422, "number_out_of_range"),
        (b"amount,currency\n1,EUR\n", "text/csv", {}, 422, "currency_mismatch"),
        (b"<a><b></a>", "text/xml", {}, 422, "statement_malformed"),
        (b"x" * 2_000_000, "text/csv", {}, 413, "body_too_large"),
        (CSV, "text/csv", {"tolerance_days": 32}, 422, "validation_failed"),
        (CSV, "text/csv", {"settle": "perhaps"}, 422, "validation_failed"),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_a_statement_that_cannot_be_taken_is_refused(
    *, db: Database, content: bytes, form: str, query: dict[str, Any], status: int, code: str
) -> None:
    async with serving(db) as client:
        await _post(client, "/v1/nostros", NOSTRO)
        response = await _upload(client, content, form, **query)
        assert (await client.get("/v1/reconciliations")).json()["items"] == []
    assert (response.status_code, code_of(response)) == (status, code)


async def test_of_opposite_answers_at_once_exactly_one_is_carried_out(db: Database) -> None:
    await fund(db)
    async with serving(db) as client:
        await _post(client, "/v1/nostros", NOSTRO)
        await _post(client, "/v1/external-payments", OUT)
        await _post(client, "/v1/external-payments/1/sent")
        answers = await asyncio.gather(
            *(_post(client, f"/v1/external-payments/1/{verb}", {"booked_on": None} if verb == "settled" else {"reason": "x"})
              for verb in ("settled", "rejected") * 4)
        )  # fmt: skip
        status = (await client.get("/v1/external-payments/1")).json()["status"]
    won = [answer.json()["status"] for answer in answers if answer.status_code == 200]
    assert won == [status] * 4
    assert {code_of(answer) for answer in answers if answer.status_code != 200} == {"impossible_transition"}


def test_the_command_reconciles_and_its_exit_status_says_whether_all_agrees(
    database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database.app_url)
    monkeypatch.setenv("TALLYSTICK_OWNER_URL", database.owner_url)
    monkeypatch.setenv("COLUMNS", "160")
    file = tmp_path / "march.csv"
    file.write_bytes(b"amount,booked_on,text,end_to_end_id\n5.00,2026-03-01,[red]x,[bold]E\n")
    runner = CliRunner()

    def run(*arguments: str, status: int = 0) -> str:
        found = runner.invoke(command, list(arguments))
        assert found.exit_code == status, found.output
        return found.stdout

    added = run("nostro", "add", "N", "--bank", "KOMBCZPP", "--account", "CZ65 0800", "--currency", "CZK")
    assert "N mirrors CZ650800 at KOMBCZPP in CZK" in added
    assert "CZ650800" in run("nostro", "list")
    table = run("reconcile", "N", str(file), status=1)
    assert "missing_in_ledger" in table
    assert "[bold]E" in table
    assert "reconciliation id=1 lines=1 matched=0 findings=1 agrees=False" in table
    report = json.loads(run("reconcile", "N", str(file), "--settle", "--json", status=1))
    assert [finding["text"] for finding in report["items"][0]["findings"]] == ["[red]x"]
    assert report["items"][0]["outcomes"]["missing_in_ledger"]["count"] == 1
    empty = tmp_path / "empty.csv"
    empty.write_bytes(b"amount\n")
    assert "agrees=True" in run("reconcile", "N", str(empty))
    for arguments in (("N", str(tmp_path)), ("N", str(tmp_path / "none.csv"))):
        run("reconcile", *arguments, status=2)
    (tmp_path / "a.txt").write_text("x")
    run("reconcile", "N", str(tmp_path / "a.txt"), status=1)
    run("reconcile", "NOBODY", str(file), status=1)
