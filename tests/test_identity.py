"""Principals and keys: what they may do, what ends them, and that all of it is on the record without a secret."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tallystick import audit, identity
from tallystick.db import Database, Tx
from tallystick.kit import Conflict, Forbidden, Invalid, NotFound, TallystickError
from tests.conftest import TestDatabase

_LATER = datetime(2100, 1, 1, tzinfo=UTC)
_DIGEST = bytes(32)


async def test_a_key_is_known_by_its_hash_alone(db: Database, database: TestDatabase) -> None:
    async with db.write() as tx:
        key = await identity.create_key(tx, "payments", by="test")
        assert await identity.authenticate(tx, key.secret) == identity.Principal("payments", "service", frozenset({"operator"}))
        assert await identity.authenticate(tx, key.secret + "x") is None
        assert await identity.authenticate(tx, "\ud800") is None
    with psycopg.connect(database.owner_url) as connection:
        for table in ("identity.api_key", "audit.event"):
            rows = connection.execute(f"select t::text from {table} t".encode()).fetchall()
            assert rows
            assert key.secret not in str(rows)


async def test_a_revoked_key_is_useless_and_the_other_of_its_principal_is_not(db: Database) -> None:
    async with db.write() as tx:
        old, new = [await identity.create_key(tx, "payments", by="test") for _ in range(2)]
        await identity.revoke_key(tx, old.id, by="test")
    async with db.write() as tx:
        assert await identity.authenticate(tx, old.secret) is None
        assert await identity.authenticate(tx, new.secret) is not None
        with pytest.raises(NotFound, match="unknown_key"):
            await identity.revoke_key(tx, old.id, by="test")


async def test_a_principal_needs_a_name_that_is_safe_everywhere(db: Database) -> None:
    async with db.write() as tx:
        with pytest.raises(Invalid, match="name_malformed"):
            await identity.create_key(tx, "a b", by="test")


@pytest.mark.parametrize("name", ["settlement-agent", "bootstrap", "demo", "import:berka", "worker@host:1", "cli:anna"])
async def test_nobody_is_called_like_a_part_of_the_system(db: Database, name: str) -> None:
    async with db.write() as tx:
        with pytest.raises(Invalid, match="name_reserved"):
            await identity.create_key(tx, name, by="test")
        with pytest.raises(Invalid, match="name_reserved"):
            await identity.add_principal(tx, name, kind="person", by="test")


async def _agent(tx: Tx, **key: Any) -> identity.NewKey:
    """An agent called `bot`, whose owner is anna, and a key of it."""
    await identity.add_principal(tx, "anna", kind="person", roles=["approver"], by="test")
    await identity.add_principal(tx, "bot", kind="agent", owner="anna", risk_tier="low", by="test")
    return await identity.create_key(tx, "bot", by="test", **key)


async def _who(db: Database, key: identity.NewKey) -> identity.Principal | None:
    async with db.read() as tx:
        return await identity.authenticate(tx, key.secret)


async def test_an_agent_sees_nothing_until_it_is_given_something(db: Database) -> None:
    async with db.write() as tx:
        key = await _agent(tx)
    assert await _who(db, key) == identity.Principal(
        "bot", "agent", frozenset({"agent"}), owner="anna", risk_tier="low", accounts=frozenset(), customers=frozenset()
    )
    async with db.write() as tx:
        await identity.set_reach(tx, "bot", accounts=["B", "A", "A"], customers=None, by="test")
    found = await _who(db, key)
    assert found is not None
    assert (found.accounts, found.customers) == (frozenset({"A", "B"}), None)
    assert identity.may_touch(found, "A", "B")
    assert not identity.may_touch(found, "A", "C")
    assert identity.may_touch_customer(found, 7)


async def test_a_key_has_the_scopes_that_its_principal_has_too(db: Database) -> None:
    async with db.write() as tx:
        await identity.add_principal(tx, "eva", kind="person", roles=["operator", "approver"], by="test")
        key = await identity.create_key(tx, "eva", scopes=["approver", "admin"], by="test")
    found = await _who(db, key)
    assert found is not None
    assert found.roles == {"approver"}
    async with db.write() as tx:
        await identity.set_roles(tx, "eva", ["admin"], by="test")
    found = await _who(db, key)
    assert found is not None
    assert found.roles == {"admin"}


@pytest.mark.parametrize(
    ("kind", "roles"), [("agent", ["approver"]), ("agent", ["operator"]), ("person", ["agent"]), ("service", ["approver"])]
)
async def test_agents_and_services_never_vote_and_nobody_has_a_role_of_another_kind(
    db: Database, database: TestDatabase, kind: str, roles: list[str]
) -> None:
    async with db.write() as tx:
        with pytest.raises(Invalid, match="role_not_for_kind"):
            await identity.add_principal(tx, "x", kind=kind, roles=roles, by="test")
    with psycopg.connect(database.owner_url) as owner, pytest.raises(psycopg.errors.CheckViolation):
        owner.execute("insert into identity.principal (name, kind, roles) values ('x', %s, %s)", (kind, roles))


async def test_nobody_changes_their_own_authority(db: Database) -> None:
    async with db.write() as tx:
        await identity.add_principal(tx, "eva", kind="person", roles=["admin"], by="test")
        with pytest.raises(Forbidden, match="own_authority"):
            await identity.set_roles(tx, "eva", ["admin", "operator"], by="eva")
        with pytest.raises(Forbidden, match="own_authority"):
            await identity.set_reach(tx, "eva", accounts=None, customers=None, by="eva")
        with pytest.raises(Forbidden, match="own_authority"):
            await identity.enable(tx, "eva", by="eva")
        assert (await identity.disable(tx, "eva", by="eva")).disabled_at is not None


async def test_a_key_ends_by_itself(db: Database, database: TestDatabase) -> None:
    async with db.write() as tx:
        key = await identity.create_key(tx, "payments", expires_in_s=60, by="test")
    assert await _who(db, key) is not None
    with psycopg.connect(database.owner_url) as owner:
        owner.execute("update identity.api_key set expires_at = now() - interval '1 ms'")
    assert await _who(db, key) is None
    async with db.write() as tx:
        with pytest.raises(NotFound, match="unknown_key"):
            await identity.rotate_key(tx, key.id, by="test")
        assert not await identity.any_key(tx)


async def test_a_rotated_key_has_what_the_old_one_had_and_the_old_one_ends_after_the_overlap(
    db: Database, database: TestDatabase
) -> None:
    async with db.write() as tx:
        old = await _agent(tx, scopes=["agent"], expires_in_s=86_400)
        await identity.add_version(tx, "bot", "7", model="m", prompt_digest=_DIGEST, tools_digest=_DIGEST, by="test")
        pinned = await identity.create_key(tx, "bot", version="7", expires_in_s=86_400, scopes=["agent"], by="test")
    async with db.write() as tx:
        new = await identity.rotate_key(tx, pinned.id, overlap_s=3600, by="test")
    assert await _who(db, new) == await _who(db, pinned)
    async with db.write() as tx:
        info, before = await identity.key(tx, new.id), await identity.key(tx, pinned.id)
        assert (info.follows, info.version, info.scopes) == (pinned.id, "7", ["agent"])
        assert info.expires_at is not None
        assert before.expires_at is not None
        assert abs(info.expires_at - info.created_at - timedelta(days=1)) < timedelta(seconds=2)
        assert before.expires_at - before.created_at < timedelta(hours=1, seconds=60)
        at_once = await identity.rotate_key(tx, old.id, by="test")
    assert await _who(db, old) is None
    assert await _who(db, at_once) is not None
    with psycopg.connect(database.owner_url) as owner:
        owner.execute("update identity.api_key set expires_at = expires_at - interval '1 hour' where id = %s", (pinned.id,))
    assert await _who(db, pinned) is None
    assert await _who(db, new) is not None


async def test_who_is_disabled_is_let_in_by_no_key_and_so_are_the_agents_that_they_own(db: Database) -> None:
    async with db.write() as tx:
        key = await _agent(tx)
        await identity.disable(tx, "anna", by="test")
    assert await _who(db, key) is None
    async with db.write() as tx:
        await identity.enable(tx, "anna", by="test")
    assert await _who(db, key) is not None
    async with db.write() as tx:
        await identity.disable(tx, "bot", by="test")
        assert await identity.acting(tx, "bot") is None
        with pytest.raises(Conflict, match="principal_disabled"):
            await identity.create_key(tx, "bot", by="test")
    assert await _who(db, key) is None


async def test_a_version_is_made_once_and_stays(db: Database) -> None:
    async with db.write() as tx:
        await _agent(tx)
        made = [
            await identity.add_version(tx, "bot", "7", model="m", prompt_digest=_DIGEST, tools_digest=_DIGEST, by="test")
            for _ in range(2)
        ]
        assert made[0] == made[1]
        with pytest.raises(Conflict, match="version_exists"):
            await identity.add_version(tx, "bot", "7", model="n", prompt_digest=_DIGEST, tools_digest=_DIGEST, by="test")
        with pytest.raises(Invalid, match="digest_malformed"):
            await identity.add_version(tx, "bot", "8", model="m", prompt_digest=b"", tools_digest=_DIGEST, by="test")
        with pytest.raises(Invalid, match="not_an_agent"):
            await identity.add_version(tx, "anna", "1", model="m", prompt_digest=_DIGEST, tools_digest=_DIGEST, by="test")
        with pytest.raises(NotFound, match="unknown_agent_version"):
            await identity.create_key(tx, "bot", version="9", by="test")
        assert [one.version for one in await identity.versions(tx, "bot")] == ["7"]
        key = await identity.create_key(tx, "bot", version="7", by="test")
        acting = await identity.acting(tx, "bot", version="7")
        assert await identity.acting(tx, "bot", version="9") is None
    assert acting == await _who(db, key)
    assert acting is not None
    assert acting.version == "7"


async def _mandate(tx: Tx, **terms: Any) -> identity.MandateInfo:
    new = identity.NewMandate("anna", "bot", ["transfer"], terms.pop("until", _LATER), **terms)
    return await identity.grant_mandate(tx, new, by="anna")


async def test_under_a_mandate_an_agent_reaches_what_it_the_person_and_the_mandate_all_reach(db: Database) -> None:
    async with db.write() as tx:
        await _agent(tx)
        mandate = await _mandate(tx, accounts=["A", "B", "C"], max_amount={"CZK": 100}, payees=["CZ65"], beyond="ask")
        key = await identity.create_key(tx, "bot", mandate_id=mandate.id, by="test")
        await identity.set_reach(tx, "bot", accounts=["A", "B", "X"], customers=[1, 2], by="test")
    found = await _who(db, key)
    assert found is not None
    assert found.mandate == identity.Mandate(
        mandate.id, "anna", "bot", ("transfer",), ("A", "B", "C"), {"CZK": 100}, None, ("CZ65",), _LATER, "ask"
    )
    assert (found.on_behalf_of, found.accounts, found.customers) == ("anna", frozenset("AB"), frozenset({1, 2}))
    async with db.write() as tx:
        await identity.set_reach(tx, "anna", accounts=["B", "C"], customers=[2, 3], by="test")
        assert await identity.acting(tx, "bot", mandate_id=mandate.id) == await identity.authenticate(tx, key.secret)
    found = await _who(db, key)
    assert found is not None
    assert (found.accounts, found.customers) == (frozenset("B"), frozenset({2}))


async def test_a_mandate_that_is_revoked_or_over_or_of_a_disabled_person_lets_nobody_in(
    db: Database, database: TestDatabase
) -> None:
    async with db.write() as tx:
        await _agent(tx)
        mandates = [await _mandate(tx) for _ in range(2)]
        short = await _mandate(tx, until=datetime.now(UTC) - timedelta(seconds=1))
        keys = [await identity.create_key(tx, "bot", mandate_id=each.id, by="test") for each in mandates]
        over = await identity.create_key(tx, "bot", mandate_id=short.id, by="test")
        await identity.revoke_mandate(tx, mandates[0].id, by="anna")
        again = await identity.revoke_mandate(tx, mandates[0].id, by="test")
        assert again.revoked_by == "anna"
        with pytest.raises(NotFound, match="unknown_mandate"):
            await identity.create_key(tx, "bot", mandate_id=mandates[0].id, by="test")
        assert [one.id for one in await identity.mandates(tx, person="anna", in_force=True)] == [mandates[1].id]
        assert len(await identity.mandates(tx, agent="bot")) == 3
    assert [await _who(db, key) is None for key in (*keys, over)] == [True, False, True]
    async with db.write() as tx:
        # An owner's end is the agent's, so another one answers for it.
        await identity.add_principal(tx, "jan", kind="person", by="test")
        await identity.set_owner(tx, "bot", "jan", by="test")
        await identity.disable(tx, "anna", by="test")
    assert await _who(db, keys[1]) is None


@pytest.mark.parametrize(
    "terms",
    [
        {"operations": []},
        {"operations": ["Transfer"]},
        {"max_amount": {"CZK": 0}},
        {"total": {"czk": 5}},
        {"beyond": "allow"},
        {"accounts": ["A"] * 1001},
        {"until": datetime(2100, 1, 1)},
    ],
)
async def test_a_mandate_that_says_nothing_is_refused(db: Database, terms: dict[str, Any]) -> None:
    async with db.write() as tx:
        await _agent(tx)
        given: dict[str, Any] = {"person": "anna", "agent": "bot", "operations": ["*"], "until": _LATER} | terms
        new = identity.NewMandate(**given)
        with pytest.raises(Invalid, match="mandate_malformed"):
            await identity.grant_mandate(tx, new, by="anna")


async def test_a_mandate_is_given_by_a_person_to_an_agent(db: Database) -> None:
    async with db.write() as tx:
        await _agent(tx)
        with pytest.raises(Invalid, match="not_a_person"):
            await identity.grant_mandate(tx, identity.NewMandate("bot", "bot", ["*"], _LATER), by="anna")
        with pytest.raises(Invalid, match="not_an_agent"):
            await identity.grant_mandate(tx, identity.NewMandate("anna", "anna", ["*"], _LATER), by="anna")


async def test_there_is_one_first_admin_however_many_ask_at_once(db: Database) -> None:
    async def ask(name: str) -> str:
        try:
            async with db.write() as tx:
                return (await identity.first_admin(tx, name, by="test")).principal
        except Conflict as refusal:
            return refusal.code

    told = await asyncio.gather(*(ask(name) for name in ("eva", "jan", "ota")))
    assert sorted(told)[:2] == ["admin_exists", "admin_exists"]
    async with db.read() as tx:
        (admin,) = [one for one in await identity.principals(tx) if one.roles == ["admin"]]
    assert admin.name in told


async def test_pages_of_principals_and_keys_hold_each_once(db: Database) -> None:
    async with db.write() as tx:
        for n in range(5):
            await identity.create_key(tx, f"p{n}", by="test")
        first = await identity.principals(tx, limit=3)
        rest = await identity.principals(tx, after=first[-1].id, limit=3)
        assert [one.name for one in (*first, *rest)] == [f"p{n}" for n in range(5)]
        newest = await identity.keys(tx, limit=3)
        older = await identity.keys(tx, before=newest[-1].id, limit=3)
        assert [one.principal for one in (*newest, *older)] == [f"p{n}" for n in reversed(range(5))]
        assert [one.principal for one in await identity.keys(tx, principal="p2")] == ["p2"]


async def test_a_principal_has_a_hundred_keys_at_most(db: Database) -> None:
    async with db.write() as tx:
        made = [await identity.create_key(tx, "payments", by="test") for _ in range(100)]
        with pytest.raises(Conflict, match="too_many_keys"):
            await identity.create_key(tx, "payments", by="test")
        await identity.revoke_key(tx, made[0].id, by="test")
        await identity.create_key(tx, "payments", by="test")


async def test_use_is_noted_once_a_minute_at_most(db: Database, database: TestDatabase) -> None:
    async with db.write() as tx:
        key = await identity.create_key(tx, "payments", by="test")
        await identity.mark_used(tx, [key.id, key.id])
        first = (await identity.key(tx, key.id)).used_at
    assert first is not None
    async with db.write() as tx:
        await identity.mark_used(tx, [key.id])
        assert (await identity.key(tx, key.id)).used_at == first
    with psycopg.connect(database.owner_url) as owner:
        owner.execute("update identity.key_use set used_at = used_at - interval '61 s'")
    async with db.write() as tx:
        await identity.mark_used(tx, [key.id])
        noted = (await identity.key(tx, key.id)).used_at
    assert noted is not None
    assert noted > first


async def test_what_has_not_the_form_of_a_key_is_kept_nowhere(db: Database) -> None:
    async with db.write() as tx:
        key = await identity.create_key(tx, "payments", by="test")
    assert identity.prefix_of(key.secret) == key.prefix
    assert [identity.prefix_of(other) for other in ("hunter2", key.secret + "x", "ts_short", "")] == [None] * 4


async def test_every_change_of_authority_is_on_the_record(db: Database) -> None:
    async with db.write() as tx:
        key = await _agent(tx)
        await identity.set_roles(tx, "anna", ["auditor"], by="eva")
        await identity.set_roles(tx, "anna", ["auditor"], by="eva")
        await identity.set_reach(tx, "bot", accounts=["A"], customers=[3], by="eva")
        await identity.add_principal(tx, "jan", kind="person", by="eva")
        await identity.set_owner(tx, "bot", "jan", risk_tier="high", by="eva")
        await identity.add_version(tx, "bot", "7", model="m", prompt_digest=_DIGEST, tools_digest=_DIGEST, by="eva")
        mandate = await _mandate(tx, payees=["Mrs Nova"])
        await identity.revoke_mandate(tx, mandate.id, by="eva")
        new = await identity.rotate_key(tx, key.id, overlap_s=5, by="eva")
        await identity.revoke_key(tx, new.id, by="eva")
        await identity.disable(tx, "bot", by="eva")
        await identity.enable(tx, "bot", by="eva")
    async with db.read() as tx:
        told = [event async for event in audit.stream(tx, audit.Filter(), ascending=True)]
    assert [event.verb for event in told] == [
        "principals.add", "principals.add", "keys.create", "principals.set_roles", "principals.set_reach", "principals.add",
        "principals.set_owner", "principals.add_version", "mandates.grant", "mandates.revoke", "keys.rotate", "keys.revoke",
        "principals.disable", "principals.enable",
    ]  # fmt: skip
    assert {event.principal for event in told[3:]} == {"eva", "anna"}
    assert told[3].detail == {"roles": ["auditor"], "before": ["approver"]}
    assert told[4].detail["accounts"] == {"count": 1, "first": ["A"]}
    assert told[9].on_behalf_of == "anna"
    assert "Nova" not in "".join(event.leaf for event in told)


async def test_who_is_not_there_is_told_so(db: Database) -> None:
    async with db.write() as tx:
        calls = (
            lambda: identity.get(tx, "x"),
            lambda: identity.set_roles(tx, "x", [], by="test"),
            lambda: identity.disable(tx, "x", by="test"),
            lambda: identity.versions(tx, "x"),
            lambda: identity.add_principal(tx, "bot", kind="agent", owner="x", by="test"),
            lambda: identity.mandate(tx, 9),
            lambda: identity.rotate_key(tx, 9, by="test"),
        )
        codes = []
        for call in calls:
            with pytest.raises(TallystickError) as refused:
                await call()
            codes.append(refused.value.code)
    assert codes == [*["unknown_principal"] * 5, "unknown_mandate", "unknown_key"]
