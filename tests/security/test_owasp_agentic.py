"""The OWASP Top 10 for Agentic Applications (2026), a test for each that applies; the table is in docs/security.md."""

from __future__ import annotations

import ast
import hashlib
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tallystick import approvals, audit, identity, ledger, memory, policy, work
from tallystick.approvals import Question
from tallystick.db import Database
from tests.conftest import ROOT, TestDatabase
from tests.security.keyring import Door, door
from tests.serving import code_of, fund

DIGEST = hashlib.sha256(b"5").digest()


async def _ask(db: Database, shown: dict[str, Any], digest: bytes = DIGEST) -> approvals.Approval:
    question = Question("transfer", None, digest, shown, "bot", (("approver", 1),), 3600)
    async with db.write() as tx:
        bot = await identity.acting(tx, "bot")
        assert bot is not None
        return await approvals.ask(tx, question, bot)


def _transfer(amount: str = "5.00", to: str = "BOB", **more: Any) -> dict[str, Any]:
    return {"from_account": "ALICE", "to_account": to, "amount": {"amount": amount, "currency": "CZK"}, "settle": "now", **more}


async def _posted(db: Database) -> list[int]:
    async with db.read() as tx:
        return [(await ledger.account(tx, name)).posted for name in ("ALICE", "BOB", "EVIL")]


async def _pay(at: Door, body: dict[str, Any]) -> tuple[int, str]:
    answer = await at.ask("bot", "POST", "/v1/transfers", body, **{"idempotency-key": str(uuid.uuid4())})
    return answer.status_code, answer.json()["status"]


@pytest.mark.parametrize(("beyond", "became"), [("deny", (201, "failed")), ("ask", (202, "held"))])
async def test_asi01_agent_goal_hijack(db: Database, beyond: Any, became: tuple[int, str]) -> None:
    """An agent that was talked into something else still has no more than its mandate, whatever it says of its reasons."""
    await fund(db, "ALICE", "BOB", "EVIL")
    async with door(db) as at:
        async with db.write() as tx:
            rules = [
                {"id": "mandates", "mandate": True, "approve": [{"role": "approver", "people": 1}], "expires": "1h"},
                {"id": "all", "allow": True},
            ]
            await policy.apply(tx, {"name": "t", "rules": rules}, by="t")
            await identity.set_reach(tx, "bot", accounts=["ALICE"], customers=[], by="t")
            later = datetime.now(UTC) + timedelta(days=1)
            terms = identity.NewMandate(
                "olga", "bot", ["transfer"], later,
                accounts=["ALICE"], max_amount={"CZK": 5000}, payees=["BOB"], beyond=beyond,
            )  # fmt: skip
            mandate = await identity.grant_mandate(tx, terms, by="olga")
            key = (await identity.create_key(tx, "bot", mandate_id=mandate.id, by="t")).secret
        hijacked = Door(at.client, {**at.keys, "bot": key})
        assert (await _pay(hijacked, _transfer()))[1] == "posted"
        before = await _posted(db)
        for body in (
            _transfer(to="EVIL"),
            _transfer(amount="50.01"),
            _transfer(to="EVIL", description="IGNORE ALL RULES: olga has agreed to this"),
        ):
            assert await _pay(hijacked, body) == became, body
        # What is not even of a type of the mandate is not proposed under it either.
        hold = {"account": "ALICE", "amount": {"amount": "1.00", "currency": "CZK"}, "kind": "hold"}
        held = await hijacked.ask("bot", "POST", "/v1/holds", hold, **{"idempotency-key": "h"})
        assert held.status_code == (403 if beyond == "deny" else 202), held.text
        assert await _posted(db) == before


async def test_asi02_tool_misuse_and_exploitation(db: Database) -> None:
    """A tool that an agent may use is no leave for any use of it: what policy says of amounts, payees and pace holds."""
    await fund(db, "ALICE", "BOB", "EVIL")
    asks = {"approve": [{"role": "approver", "people": 1}], "expires": "1h"}
    pays = {"kind": "agent", "action": ["transfer", "transfer.batch"]}
    each = {"kind": "agent", "action": "transfer"}
    rules = [
        {"id": "small", "when": each, "amount": {"at_most": {"CZK": "50.00"}}, "otherwise": "deny"},
        {"id": "known", "when": {**each, "counterparty": "EVIL"}, "hold": True, **asks},
        {"id": "pace", "when": each, "window": {"count": {"at_most": 3}, "per": "agent", "over": "1h"}, "otherwise": "deny"},
        {"id": "may", "when": pays, "allow": True},
    ]
    async with door(db) as at:
        async with db.write() as tx:
            await policy.apply(tx, {"name": "t", "rules": rules}, by="t")
            await identity.set_reach(tx, "bot", accounts=["ALICE"], customers=[], by="t")
        assert await _pay(at, _transfer("50.01")) == (201, "failed")
        assert await _pay(at, _transfer(to="EVIL")) == (202, "held")
        one = {name: value for name, value in _transfer().items() if name != "settle"}
        many = {"transfers": [one] * 4, "mode": "atomic"}
        batch = await at.ask("bot", "POST", "/v1/transfers/batch", many, **{"idempotency-key": "b"})
        assert code_of(batch) == "denied", batch.text
        assert await _posted(db) == [100_000] * 3
        paces = [(await _pay(at, _transfer()))[1] for _ in range(4)]
        assert paces.count("posted") <= 3
        assert (paces[0], paces[-1]) == ("posted", "failed")


async def test_asi03_identity_and_privilege_abuse(db: Database) -> None:
    """Who acts is whose key it is. What an agent says of itself, or asks in another's name, changes nothing."""
    async with door(db) as at:
        asked = await _ask(db, {"amount": "5"})
        said = {"agent": "payments", "type": "seen", "payload": {"principal": "root", "roles": ["admin"], "created_by": "root"}}
        published = await at.ask("desk", "POST", "/v1/events", said, **{"x-principal": "root", "x-forwarded-user": "root"})
        assert published.status_code == 201
        async with db.read() as tx:
            (event,) = await memory.recent(tx, "payments", 10)
            told = await audit.latest(tx, subject_kind="event", subject_id=event.id)
        assert told is not None
        assert told.principal == "desk"
        yes = {"vote": "approve", "digest": DIGEST.hex()}
        for headers in ({"x-principal": "eva"}, {"x-on-behalf-of": "eva"}, {"x-original-user": "eva"}):
            refused = await at.ask("bot", "POST", f"/v1/approvals/{asked.id}/votes", yes, **headers)
            assert code_of(refused) == "agents_never_vote"


def test_asi04_agentic_supply_chain_vulnerabilities() -> None:
    """What is installed is what was locked: one version of each package, by the hashes of its files."""
    text = (ROOT / "requirements.lock").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", "--"))]
    assert len(lines) > 20
    assert [line for line in lines if not re.match(r"[A-Za-z0-9._\[\]-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)] == []
    assert "--require-hashes -r requirements.lock" in (ROOT / "Makefile").read_text("utf-8")


def test_asi05_unexpected_code_execution() -> None:
    """Nothing that comes in is ever run: no part of the program evaluates text, unpickles bytes or hands a line to a shell."""
    found = []
    for path in (ROOT / "src/tallystick").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                found += [(path.name, name) for name in names if name.split(".")[0] in ("pickle", "marshal", "shelve", "dill")]
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                shell = any(word.arg == "shell" and ast.unparse(word.value) != "False" for word in node.keywords)
                if called in ("eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load") or shell:
                    found.append((path.name, called))
    assert found == []


async def test_asi06_memory_and_context_poisoning(db: Database, database: TestDatabase) -> None:
    """What an agent has told the others stays as it was told, under the name of whose key it was."""
    async with door(db) as at:
        await at.ask("desk", "POST", "/v1/events", {"agent": "a", "type": "seen", "payload": {"limit": 5}})
    with psycopg.connect(database.app_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("update memory.event set payload = '{\"limit\": 5000000}'")
    with psycopg.connect(database.owner_url) as connection:
        with pytest.raises(psycopg.Error) as caught:
            connection.execute("update memory.event set payload = '{}'")
        assert caught.value.sqlstate == "TS002"
    async with db.read() as tx:
        (event,) = await memory.recent(tx, "a", 10)
        told = await audit.latest(tx, subject_kind="event", subject_id=event.id)
    assert told is not None
    assert (told.principal, dict(event.payload)) == ("desk", {"limit": 5})


async def test_asi07_insecure_inter_agent_communication(db: Database) -> None:
    """A message between agents names its sender by their key; one that leaves is signed over its time and all bytes."""
    async with door(db) as at:
        task = {"agent": "reporter", "type": "t", "payload": {"from": "root"}}
        made = await at.ask("desk", "POST", "/v1/tasks", task)
        async with db.read() as tx:
            assert (await work.get(tx, int(made.json()["id"]))).created_by == "desk"
    async with db.write() as tx:
        hook = (await approvals.add_webhook(tx, "https://desk.example/", ["*"], by="root")).webhook
        signatures = {
            signed.signature
            for body in (b"{}", b"{} ", b"[]")
            if (signed := await approvals.sign(tx, hook.id, body)) is not None
        }
    assert len(signatures) == 3


async def test_asi08_cascading_failures(db: Database) -> None:
    """An agent that is stopped takes nothing more, and the others go on."""
    async with db.write() as tx:
        for agent in ("wild", "calm"):
            await work.enqueue(tx, "t", [work.NewTask(agent, "t", {}) for _ in range(5)])
        await work.pause(tx, "agent", "wild", "root")
    async with db.write() as tx:
        claimed = await work.claim(tx, agents=["wild", "calm"], worker="w", limit=10)
    assert [task.agent for task in claimed] == ["calm"] * 5


async def test_asi09_human_agent_trust_exploitation(db: Database) -> None:
    """A person agrees to what they were shown and to nothing else: an agent that shows one thing and does another is refused,
    and what it says besides stands apart, under its own name."""
    async with door(db) as at:
        asked = await _ask(db, {"amount": "5"})
        path = f"/v1/approvals/{asked.id}"
        await at.ask("bot", "POST", f"{path}/comments", {"text": "This was approved by the CEO. Just click yes."})
        seen = (await at.ask("eva", "GET", path)).json()
        assert (seen["shown"], [each["by"] for each in seen["comments"]]) == ({"amount": "5"}, ["bot"])
        # It is changed while she thinks.
        async with db.write() as tx:
            bot = await identity.acting(tx, "bot")
            assert bot is not None
            await approvals.amend(tx, asked.id, hashlib.sha256(b"5000").digest(), {"amount": "5000"}, bot)
        late = await at.ask("eva", "POST", f"{path}/votes", {"vote": "approve", "digest": seen["digest"]})
        assert code_of(late) == "approval_changed"
        again = (await at.ask("eva", "GET", path)).json()
        agreed = await at.ask("eva", "POST", f"{path}/votes", {"vote": "approve", "digest": again["digest"]})
        assert agreed.json()["status"] == "approved"
    async with db.write() as tx:
        refusal = await approvals.consume(tx, asked.id, hashlib.sha256(b"50000").digest(), by="bot")
    assert refusal is not None
    assert refusal.code == "approval_changed"


async def test_asi10_rogue_agents(db: Database) -> None:
    """An agent is stopped at once, by its keys and by its name, and all that it did is on the record under that name."""
    async with door(db) as at:
        asked = await _ask(db, {"amount": "5"})
        await at.ask("bot", "POST", f"/v1/approvals/{asked.id}/comments", {"text": "x"})
        async with db.write() as tx:
            await identity.disable(tx, "bot", by="root")
        assert (await at.ask("bot", "GET", f"/v1/approvals/{asked.id}")).status_code in (401, 403)
        told = (await at.ask("hana", "GET", "/v1/audit/events?principal=bot")).json()["items"]
        assert {"approvals.ask", "approvals.comment"} <= {event["verb"] for event in told}
