"""Approvals by their doors: over HTTP with keys of people, agents and services, and at the command line."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tallystick import approvals, identity, policy
from tallystick.approvals import Approval, Question
from tallystick.db import Database
from tallystick.http import HttpSettings
from tests.command_line import command
from tests.conftest import TestDatabase
from tests.serving import ALICE, BOB, code_of, fund, serving

DIGEST = hashlib.sha256(b"5").digest()
PEOPLE = {
    "eva": ("approver",), "jan": ("approver",), "olga": ("approver",), "hana": ("auditor",), "root": ("admin",),
    "nobody": (),
}  # fmt: skip


@pytest.fixture
async def keys(db: Database) -> dict[str, str]:
    """A key for each of them, by name."""
    made = {}
    async with db.write() as tx:
        for name, roles in PEOPLE.items():
            await identity.add_principal(tx, name, kind="person", by="t", roles=roles)
            made[name] = (await identity.create_key(tx, name, by="t")).secret
        for bot in ("bot", "other-bot"):
            await identity.add_principal(tx, bot, kind="agent", by="t", owner="olga", risk_tier="low")
            made[bot] = (await identity.create_key(tx, bot, by="t")).secret
        await identity.add_principal(tx, "desk", kind="service", by="t", roles=("operator",))
        made["desk"] = (await identity.create_key(tx, "desk", by="t")).secret
    return made


@pytest.fixture
async def client(db: Database) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(db, HttpSettings(open=False), keyed=True) as client:
        yield client


async def ask(db: Database, **changes: Any) -> Approval:
    fields: dict[str, Any] = {
        "action": "transfer", "action_id": 7, "digest": DIGEST, "shown": {"amount": "5.00"}, "maker": "bot",
        "approve": (("approver", 2),), "expires_s": 3600,
    }  # fmt: skip
    async with db.write() as tx:
        bot = await identity.acting(tx, "bot")
        return await approvals.ask(tx, Question(**(fields | changes)), bot or identity.house("bot"))


def by(key: str, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", **more}


async def test_two_people_agree_over_http_and_all_of_it_is_shown(
    db: Database, client: httpx.AsyncClient, keys: dict[str, str]
) -> None:
    asked = await ask(db)
    path = f"/v1/approvals/{asked.id}"
    shown = (await client.get(path, headers=by(keys["eva"]))).json()
    assert (shown["shown"], shown["digest"], shown["excluded"]) == ({"amount": "5.00"}, DIGEST.hex(), ["olga"])
    assert (shown["quorum"], shown["outcome"]) == ([{"role": "approver", "people": [], "missing": 2}], None)
    yes = {"vote": "approve", "digest": shown["digest"], "reason": None}
    first = await client.post(f"{path}/votes", json=yes, headers=by(keys["eva"]))
    assert (first.status_code, first.json()["quorum"]) == (200, [{"role": "approver", "people": ["eva"], "missing": 1}])
    said = await client.post(f"{path}/comments", json={"text": "the invoice is in case 7"}, headers=by(keys["bot"]))
    assert [each["by"] for each in said.json()["comments"]] == ["bot"]
    second = (await client.post(f"{path}/votes", json=yes, headers=by(keys["jan"]))).json()
    assert (second["status"], [each["person"] for each in second["votes"]]) == ("approved", ["eva", "jan"])
    taken_back = await client.post(f"{path}/withdraw", headers=by(keys["bot"]))
    assert taken_back.json()["status"] == "withdrawn"


async def test_what_one_has_said_who_was_disabled_since_does_not_count(
    db: Database, client: httpx.AsyncClient, keys: dict[str, str]
) -> None:
    asked = await ask(db)
    votes = f"/v1/approvals/{asked.id}/votes"
    yes = {"vote": "approve", "digest": DIGEST.hex(), "reason": None}
    assert (await client.post(votes, json=yes, headers=by(keys["eva"]))).json()["status"] == "open"
    async with db.write() as tx:
        await identity.disable(tx, "eva", by="root")
    voted = (await client.post(votes, json=yes, headers=by(keys["jan"]))).json()
    assert (voted["status"], voted["quorum"]) == ("open", [{"role": "approver", "people": ["jan"], "missing": 1}])
    assert [(each["person"], each["counts"]) for each in voted["votes"]] == [("eva", False), ("jan", True)]
    async with db.write() as tx:
        await identity.add_principal(tx, "ota", kind="person", by="root", roles=("approver",))
        key = (await identity.create_key(tx, "ota", by="root")).secret
    assert (await client.post(votes, json=yes, headers=by(key))).json()["status"] == "approved"


async def test_nor_does_a_word_on_broken_glass(db: Database, client: httpx.AsyncClient, keys: dict[str, str]) -> None:
    asked = await ask(db)
    path, fire = f"/v1/approvals/{asked.id}/break-glass", {"digest": DIGEST.hex(), "reason": "fire"}
    assert (await client.post(path, json=fire, headers=by(keys["eva"]))).json()["status"] == "open"
    async with db.write() as tx:
        await identity.disable(tx, "eva", by="root")
    assert (await client.post(path, json=fire, headers=by(keys["jan"]))).json()["status"] == "open"


BY_ONE = {"id": "by-one", "when": {"action": "transfer"}, "hold": True, "approve": [{"role": "approver", "people": 1}]}
MOVED, REFUSED = {"status": "executed", "reason": None}, {"status": "failed", "reason": "insufficient_funds"}


async def _held(db: Database, client: httpx.AsyncClient, key: str, amount: str) -> tuple[str, str]:
    """The number and the digest of the question about a transfer."""
    async with db.write() as tx:
        await policy.apply(tx, {"name": "test", "rules": [BY_ONE, {"id": "allowed", "allow": True}]}, by="t")
    body = {"from_account": ALICE, "to_account": BOB, "amount": {"amount": amount, "currency": "CZK"}}
    held = (await client.post("/v1/transfers", json=body, headers=by(key))).json()
    path = f"/v1/approvals/{held['approval_id']}"
    question = (await client.get(path, headers=by(key))).json()
    assert question["outcome"] == {"status": "held", "reason": None}
    return held["approval_id"], question["digest"]


@pytest.mark.parametrize(("amount", "outcome"), [("1.00", MOVED), ("5000.00", REFUSED)])
async def test_the_last_vote_says_what_became_of_the_action(
    db: Database, client: httpx.AsyncClient, keys: dict[str, str], amount: str, outcome: dict[str, str | None]
) -> None:
    await fund(db)
    number, digest = await _held(db, client, keys["desk"], amount)
    yes = {"vote": "approve", "digest": digest, "reason": None}
    voted = (await client.post(f"/v1/approvals/{number}/votes", json=yes, headers=by(keys["eva"]))).json()
    assert (voted["status"], voted["outcome"]) == ("consumed", outcome)


async def test_the_last_vote_at_the_command_line_says_so_too(
    db: Database, database: TestDatabase, client: httpx.AsyncClient, keys: dict[str, str]
) -> None:
    await fund(db)
    number, digest = await _held(db, client, keys["desk"], "5000.00")
    vote = ("approvals", "approve", number, "--digest", digest, "--key-file", "-")
    told = (await asyncio.to_thread(command, database, *vote, stdin=keys["eva"])).stdout.splitlines()
    assert told[0] == f"approval {number} is consumed"
    assert told[1].endswith("failed: insufficient_funds")


@pytest.mark.parametrize(
    ("who", "changes", "status", "code"),
    [
        ("bot", {}, 403, "agents_never_vote"),
        ("other-bot", {}, 403, "agents_never_vote"),
        ("desk", {}, 403, "only_people_vote"),
        ("olga", {}, 403, "maker_is_not_checker"),
        ("hana", {}, 403, "role_missing"),
        ("eva", {"digest": "0" * 64}, 409, "approval_changed"),
        ("eva", {"vote": "reject"}, 422, "reason_missing"),
        ("eva", {"digest": "0" * 63}, 422, "validation_failed"),
        ("eva", {"vote": "maybe"}, 422, "validation_failed"),
    ],
)
async def test_a_vote_that_must_not_be_is_refused_and_stays_on_the_record(
    db: Database, client: httpx.AsyncClient, keys: dict[str, str], *, database: TestDatabase, who: str,
    changes: dict[str, Any], status: int, code: str,
) -> None:  # fmt: skip
    asked = await ask(db)
    body = {"vote": "approve", "digest": DIGEST.hex(), "reason": None} | changes
    response = await client.post(f"/v1/approvals/{asked.id}/votes", json=body, headers=by(keys[who]))
    assert (response.status_code, code_of(response)) == (status, code)
    with psycopg.connect(database.owner_url) as connection:
        told = connection.execute(
            "select principal, leaf::jsonb -> 'detail' ->> 'code' from audit.event where verb = 'approvals.refuse_vote'"
        ).fetchall()
    assert told == ([(who, code)] if status != 422 else [])


async def test_a_repeated_vote_is_one_vote_and_a_refused_one_may_be_put_right_under_its_key(
    db: Database, client: httpx.AsyncClient, keys: dict[str, str]
) -> None:
    asked = await ask(db)
    path = f"/v1/approvals/{asked.id}/votes"
    body = {"vote": "approve", "digest": DIGEST.hex()}
    headers = by(keys["eva"], **{"idempotency-key": "k"})
    answers = [await client.post(path, json=body, headers=headers) for _ in range(3)]
    assert [(each.status_code, len(each.json()["votes"])) for each in answers] == [(200, 1)] * 3
    assert code_of(await client.post(path, json=body, headers=by(keys["eva"]))) == "voted_already"
    assert code_of(await client.post(path, json=body | {"vote": "reject", "reason": "x"}, headers=headers)) == "key_reused"
    refused = by(keys["jan"], **{"idempotency-key": "k"})
    wrong = body | {"digest": "0" * 64}
    assert [code_of(await client.post(path, json=wrong, headers=refused)) for _ in range(2)] == ["approval_changed"] * 2
    assert (await client.post(path, json=body, headers=refused)).json()["status"] == "approved"


async def test_who_has_no_role_that_votes_or_watches_sees_their_own_alone(
    db: Database, client: httpx.AsyncClient, keys: dict[str, str]
) -> None:
    async with db.write() as tx:
        await identity.set_roles(tx, "olga", (), by="t")
    asked = await ask(db)

    async def seen(who: str, query: str = "") -> list[str]:
        answer = await client.get(f"/v1/approvals{query}", headers=by(keys[who]))
        return [each["id"] for each in answer.json()["items"]]

    assert [await seen(who) for who in ("eva", "hana", "root", "desk", "bot", "olga")] == [[str(asked.id)]] * 6
    assert [await seen(who) for who in ("other-bot", "nobody")] == [[], []]
    assert [await seen(who, "?mine=true") for who in ("eva", "bot")] == [[], [str(asked.id)]]
    assert [await seen("eva", query) for query in ("?role=admin", "?status=expired", "?action=order")] == [[], [], []]
    path = f"/v1/approvals/{asked.id}"
    for who in ("other-bot", "nobody"):
        assert code_of(await client.get(path, headers=by(keys[who]))) == "unknown_approval"
        for verb, body in (("comments", {"text": "x"}), ("withdraw", None)):
            response = await client.post(f"{path}/{verb}", json=body, headers=by(keys[who]))
            assert code_of(response) == "unknown_approval"
        assert code_of(await client.get("/v1/approvals/reviews", headers=by(keys[who]))) == "role_missing"


async def test_pages_of_questions_follow_one_another(db: Database, client: httpx.AsyncClient, keys: dict[str, str]) -> None:
    asked = [str((await ask(db)).id) for _ in range(5)]
    found: list[str] = []
    cursor = None
    while True:
        query = "?limit=2" + (f"&cursor={cursor}" if cursor else "")
        page = (await client.get(f"/v1/approvals{query}", headers=by(keys["eva"]))).json()
        found += [each["id"] for each in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert found == asked[::-1]


async def test_a_glass_is_broken_by_two_and_its_review_is_an_alarm_until_a_third_gives_it(
    db: Database, client: httpx.AsyncClient, keys: dict[str, str]
) -> None:
    asked = await ask(db)
    path = f"/v1/approvals/{asked.id}"
    glass = {"digest": DIGEST.hex(), "reason": "the bridge is on fire"}
    assert code_of(await client.post(f"{path}/break-glass", json=glass, headers=by(keys["bot"]))) == "agents_never_vote"
    assert (await client.post(f"{path}/break-glass", json=glass, headers=by(keys["eva"]))).json()["status"] == "open"
    broken = (await client.post(f"{path}/break-glass", json=glass, headers=by(keys["root"]))).json()
    assert (broken["status"], broken["glass_broken_at"] is not None) == ("approved", True)
    owed = (await client.get("/v1/approvals/reviews?open=true", headers=by(keys["hana"]))).json()
    assert (owed["open"], [each["broken_by"] for each in owed["items"]]) == (1, [["eva", "root"]])
    verdict = {"verdict": "justified", "note": "it was"}
    assert code_of(await client.post(f"{path}/review", json=verdict, headers=by(keys["eva"]))) == "reviewer_took_part"
    given = (await client.post(f"{path}/review", json=verdict, headers=by(keys["hana"]))).json()
    assert (given["closed_by"], given["verdict"]) == ("hana", "justified")
    assert (await client.get("/v1/approvals/reviews", headers=by(keys["hana"]))).json()["open"] == 0


async def test_webhooks_are_for_admins_and_the_secret_is_shown_once(
    db: Database, client: httpx.AsyncClient, keys: dict[str, str]
) -> None:
    body = {"url": "https://desk.example/hook", "events": ["asked"]}
    for who in ("eva", "desk", "bot"):
        assert code_of(await client.post("/v1/webhooks", json=body, headers=by(keys[who]))) == "role_missing"
        assert code_of(await client.get("/v1/webhooks", headers=by(keys[who]))) == "role_missing"
        assert code_of(await client.delete("/v1/webhooks/1", headers=by(keys[who]))) == "role_missing"
    headers = by(keys["root"], **{"idempotency-key": "k"})
    made, again = [(await client.post("/v1/webhooks", json=body, headers=headers)).json() for _ in range(2)]
    assert made["secret"].startswith("tsw_")
    assert again == made | {"secret": None}
    listed = await client.get("/v1/webhooks", headers=headers)
    assert ([each["url"] for each in listed.json()["items"]], made["secret"] in listed.text) == ([body["url"]], False)
    for url, code in (
        ("http://desk.example/", "url_malformed"), ("https://169.254.169.254/", "address_not_allowed"),
    ):  # fmt: skip
        response = await client.post("/v1/webhooks", json=body | {"url": url}, headers=by(keys["root"]))
        assert (response.status_code, code_of(response)) == (422, code)
    removed = await client.delete(f"/v1/webhooks/{made['id']}", headers=headers)
    assert removed.json()["removed_at"] is not None
    assert code_of(await client.delete(f"/v1/webhooks/{made['id']}", headers=headers)) == "unknown_webhook"
    assert (await client.get("/v1/webhooks", headers=headers)).json() == {"items": []}


async def test_people_vote_at_the_command_line_with_their_own_keys(
    db: Database, database: TestDatabase, keys: dict[str, str], tmp_path: Path
) -> None:
    asked = await ask(db)
    files = {}
    for name, key in keys.items():
        files[name] = tmp_path / name
        files[name].write_text(f"{key}\n")

    async def ran(*arguments: str, stdin: str | None = None) -> tuple[int, str]:
        result = await asyncio.to_thread(command, database, "approvals", *arguments, stdin=stdin)
        return result.exit_code, result.stdout + result.stderr

    number, digest = str(asked.id), DIGEST.hex()[:16]
    _, listed = await ran("list", "--status", "open")
    assert digest in listed
    _, shown = await ran("show", number)
    assert json.loads(shown)["missing"] == {"approver": 2}
    for who, code in (("bot", "agents_never_vote"), ("desk", "only_people_vote"), ("olga", "maker_is_not_checker")):
        exit_code, told = await ran("approve", number, "--digest", digest, "--key-file", str(files[who]))
        assert (exit_code, f"[{code}]" in told) == (1, True)
    exit_code, told = await ran("approve", number, "--digest", "0" * 16, "--key-file", str(files["eva"]))
    assert (exit_code, "[approval_changed]" in told) == (1, True)
    exit_code, told = await ran("approve", number, "--digest", "9", "--key-file", str(files["eva"]))
    assert (exit_code, "[digest_malformed]" in told) == (1, True)
    exit_code, told = await ran("approve", number, "--digest", digest, "--key-file", "-", stdin="ts_nobody")
    assert (exit_code, "[key_unknown]" in told) == (1, True)
    assert await ran("approve", number, "--digest", digest, "--key-file", "-", stdin=keys["eva"]) == (
        0, f"approval {number} is open\n",
    )  # fmt: skip
    assert await ran("comment", number, "who is this?", "--as", "iva") == (0, f"remarked on approval {number}\n")
    told = (await ran("reject", number, "--digest", digest, "--reason", "nobody knows", "--key-file", str(files["jan"])))[1]
    assert told == f"approval {number} is rejected\n"
    second = str((await ask(db)).id)
    for name in ("eva", "jan"):
        glass = ("break-glass", second, "--digest", digest, "--reason", "fire", "--key-file", str(files[name]))
        assert (await ran(*glass))[0] == 0
    exit_code, told = await ran("reviews")
    assert (exit_code, "eva, jan" in told) == (1, True)
    closed = await ran("review", second, "--not-justified", "--note", "a candle", "--key-file", str(files["hana"]))
    assert closed == (0, f"the review of approval {second} is closed: not_justified\n")
    assert (await ran("reviews"))[0] == 0
    assert await ran("withdraw", second, "--as", "iva") == (0, f"approval {second} is withdrawn\n")


def test_webhooks_at_the_command_line(database: TestDatabase) -> None:
    added = command(database, "webhooks", "add", "https://desk.example/hook", "--event", "asked", "--as", "root")
    assert added.stdout.startswith("tsw_")
    listed = command(database, "webhooks", "list").stdout
    assert ("https://desk.example/hook" in listed, added.stdout.strip() in listed) == (True, False)
    assert command(database, "webhooks", "add", "https://10.0.0.1/").exit_code == 1
    assert command(database, "webhooks", "remove", "1", "--as", "root").stdout == "webhook 1 is removed\n"
    assert "[unknown_webhook]" in command(database, "webhooks", "remove", "1").stderr
