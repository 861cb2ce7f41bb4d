"""Approvals: who may say what of which question, when it is over, and what of it is on the record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick import approvals, audit
from tallystick.approvals import Approval, Escalation, Question
from tallystick.approvals.model import quorum
from tallystick.db import Database
from tallystick.identity import Mandate, Principal, house
from tallystick.kit import Conflict, Forbidden, Invalid, NotFound, TallystickError
from tallystick.worker.sweeper import Sweeper
from tests.clocks import SetClock
from tests.conftest import TestDatabase

START = "2031-05-06T07:00:00"
LATER = datetime(2032, 1, 1, tzinfo=UTC)
DIGEST, OTHER = hashlib.sha256(b"pay 5").digest(), hashlib.sha256(b"pay 6").digest()
BOT = Principal("bot", "agent", frozenset({"agent", "approver"}), owner="olga")


def person(name: str, *roles: str) -> Principal:
    return Principal(name, "person", frozenset(roles or ("approver",)))


EVA, JAN, OTA = person("eva"), person("jan"), person("ota")
QUESTION = Question("transfer", 7, DIGEST, {"amount": "5.00", "to": "ACC-2"}, "bot", (("approver", 2),), 3600)


@pytest.fixture
def clock(database: TestDatabase) -> Iterator[SetClock]:
    with closing(SetClock(database.owner_url, START)) as clock:
        yield clock


@pytest.fixture
def owner(database: TestDatabase) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        yield connection


async def ask(db: Database, by: Principal = BOT, **changes: Any) -> Approval:
    async with db.write() as tx:
        return await approvals.ask(tx, replace(QUESTION, **changes), by)


async def vote(
    db: Database,
    asked: Approval,
    who: Principal,
    said: Any = "approve",
    *,
    digest: bytes | None = None,
    reason: str | None = None,
) -> str:
    """The status after a vote, or the code of its refusal."""
    async with db.write() as tx:
        became = await approvals.vote(tx, asked.id, who, said, digest or asked.digest, reason=reason)
    return became.code if isinstance(became, TallystickError) else became.status


async def consume(db: Database, approval: Approval, digest: bytes | None = None) -> str | None:
    async with db.write() as tx:
        refusal = await approvals.consume(tx, approval.id, digest or approval.digest, by="gate")
    return refusal.code if refusal else None


async def status(db: Database, approval: Approval) -> str:
    async with db.write() as tx:
        return (await approvals.get(tx, approval.id)).status


async def verbs(db: Database, approval: Approval) -> list[tuple[int, str, Any]]:
    """What the record tells of a question, oldest first."""
    asked = audit.Filter(subject_kind="approval", subject_id=approval.id)
    async with db.write() as tx:
        events = await audit.page(tx, asked, limit=100)
    assert {event.approval_id for event in events} == {approval.id}
    return sorted([(event.id, event.verb, event.detail) for event in events])


async def test_the_last_vote_that_is_needed_approves_and_it_is_used_once(db: Database) -> None:
    asked = await ask(db)
    assert (asked.status, asked.version, asked.approve, asked.action_id) == ("open", 1, (("approver", 2),), 7)
    assert asked.excluded == ["olga"]
    assert await consume(db, asked) == "approval_needed"
    assert await vote(db, asked, EVA) == "open"
    assert await vote(db, asked, JAN, reason="known payee") == "approved"
    assert await consume(db, asked, OTHER) == "approval_changed"
    assert await consume(db, asked) is None
    assert await status(db, asked) == "consumed"
    assert await consume(db, asked) == "approval_closed"
    assert await vote(db, asked, OTA) == "approval_closed"
    assert [(verb, detail.get("code") or detail.get("status")) for _, verb, detail in await verbs(db, asked)] == [
        ("approvals.ask", None),
        ("approvals.refuse_consume", "approval_needed"),
        ("approvals.vote", "open"),
        ("approvals.vote", "approved"),
        ("approvals.refuse_consume", "approval_changed"),
        ("approvals.consume", None),
        ("approvals.refuse_consume", "approval_closed"),
        ("approvals.refuse_vote", "approval_closed"),
    ]


async def test_one_rejection_ends_it_and_says_why(db: Database) -> None:
    asked = await ask(db)
    assert await vote(db, asked, EVA) == "open"
    for reason in (None, " "):
        with pytest.raises(Invalid, match="reason_missing"):
            await vote(db, asked, JAN, "reject", reason=reason)
    with pytest.raises(Invalid, match="text_too_long"):
        await vote(db, asked, JAN, "reject", reason="x" * 2001)
    assert await vote(db, asked, JAN, "reject", reason="who is this?") == "rejected"
    assert await vote(db, asked, OTA) == "approval_closed"
    assert await consume(db, asked) == "approval_closed"
    async with db.write() as tx:
        said = await approvals.votes(tx, asked.id)
    assert [(each.person, each.vote, each.reason) for each in said] == [
        ("eva", "approve", None), ("jan", "reject", "who is this?"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("who", "code"),
    [
        (BOT, "agents_never_vote"),
        (replace(BOT, name="another-bot"), "agents_never_vote"),
        (house("cli:eva"), "only_people_vote"),
        (person("olga"), "maker_is_not_checker"),
        (person("petr"), "maker_is_not_checker"),
        (person("fero", "operator", "auditor", "admin"), "role_missing"),
        (person("fero2", "agent"), "role_missing"),
    ],
)
async def test_who_may_not_vote_is_refused_and_that_is_on_the_record(db: Database, who: Principal, code: str) -> None:
    mandate = Mandate(1, "petr", "bot", ("*",), None, None, None, None, LATER)
    asked = await ask(db, replace(BOT, mandate=mandate))
    assert asked.excluded == ["olga", "petr"]
    assert await vote(db, asked, who) == code
    assert await vote(db, asked, who, "reject", reason="no") == code
    assert [detail for _, verb, detail in await verbs(db, asked) if verb == "approvals.refuse_vote"] == [{"code": code}] * 2
    async with db.write() as tx:
        assert await approvals.votes(tx, asked.id) == []


async def test_the_maker_does_not_vote_whoever_asked_for_them(db: Database) -> None:
    asked = await ask(db, person("ivan"), maker="eva", excluded=frozenset({"jan"}))
    assert (asked.maker, asked.excluded) == ("eva", ["ivan", "jan"])
    assert [await vote(db, asked, who) for who in (EVA, JAN, person("ivan"))] == ["maker_is_not_checker"] * 3


async def test_a_person_has_one_place_whatever_their_roles(db: Database) -> None:
    asked = await ask(db, approve=(("approver", 1), ("admin", 1)))
    both = person("eva", "approver", "admin")
    assert await vote(db, asked, both) == "open"
    assert await vote(db, asked, both) == "voted_already"
    assert await vote(db, asked, replace(both, roles=frozenset({"admin"}))) == "voted_already"
    assert await vote(db, asked, both, "reject", reason="no, after all") == "voted_already"
    async with db.write() as tx:
        # She holds the first place that she could, and gives way to whom no other place fits.
        assert (await approvals.quorum(tx, asked)).missing == (("admin", 1),)
    assert await vote(db, asked, JAN) == "approved"
    async with db.write() as tx:
        assert (await approvals.quorum(tx, asked)).filled == {"approver": ("jan",), "admin": ("eva",)}


async def test_more_people_of_one_role_than_are_asked_do_not_stand_for_another(db: Database) -> None:
    asked = await ask(db, approve=(("approver", 1), ("auditor", 1)))
    assert [await vote(db, asked, who) for who in (EVA, JAN, OTA)] == ["open"] * 3
    assert await vote(db, asked, person("hana", "auditor")) == "approved"


@given(st.data())
def test_a_quorum_is_reached_exactly_where_each_place_can_have_a_person_of_its_own(data: Any) -> None:
    roles = data.draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True))
    approve = tuple((role, data.draw(st.integers(1, 2))) for role in roles)
    votes = [
        (f"p{n}", sorted(places)) for n, places in enumerate(data.draw(st.lists(st.sets(st.sampled_from(roles)), max_size=6)))
    ]
    found = quorum(approve, votes)

    def most(places: list[str], free: frozenset[int]) -> int:
        """How many places can be filled, by trying everything."""
        if not places:
            return 0
        first, rest = places[0], places[1:]
        return max(
            most(rest, free), *(1 + most(rest, free - {n}) for n in free if first in votes[n][1]), 0
        )  # fmt: skip

    places = [role for role, count in approve for _ in range(count)]
    seated = [who for people in found.filled.values() for who in people]
    assert len(seated) == len(set(seated)) == most(places, frozenset(range(len(votes))))
    assert all(role in dict(votes)[who] for role, people in found.filled.items() for who in people)
    assert found.reached == (len(seated) == len(places))
    assert sum(count for _, count in found.missing) == len(places) - len(seated)


async def test_a_vote_names_what_it_saw_to_the_last_digit(db: Database) -> None:
    asked = await ask(db)
    for place in range(32):
        seen = bytearray(DIGEST)
        seen[place] ^= 1
        assert await vote(db, asked, EVA, digest=bytes(seen)) == "approval_changed"
    assert await vote(db, asked, EVA) == "open"


async def test_an_amendment_voids_all_votes_and_its_editor_may_not_vote(db: Database) -> None:
    asked = await ask(db)
    assert await vote(db, asked, EVA) == "open"
    async with db.write() as tx:
        amended = await approvals.amend(tx, asked.id, OTHER, {"amount": "6.00"}, JAN)
        assert (await approvals.shown(tx, amended)).shown == {"amount": "6.00"}
        assert (await approvals.shown(tx, asked)).shown == {"amount": "5.00", "to": "ACC-2"}
    assert (amended.version, amended.digest, amended.excluded) == (2, OTHER, ["jan", "olga"])
    assert amended.expires_at == asked.expires_at
    assert await vote(db, asked, OTA) == "approval_changed"
    assert await vote(db, amended, JAN) == "maker_is_not_checker"
    assert await vote(db, amended, OTA) == "open"
    async with db.write() as tx:
        assert (await approvals.quorum(tx, amended)).filled == {"approver": ("ota",)}
    # Her vote on the first version is void, and she may vote on the second.
    assert await vote(db, amended, EVA) == "approved"
    async with db.write() as tx:
        with pytest.raises(Conflict, match="approval_closed"):
            await approvals.amend(tx, asked.id, DIGEST, {}, OTA)


async def test_an_agents_edit_excludes_who_stands_behind_the_agent(db: Database) -> None:
    asked = await ask(db, house("import"), maker="import")
    mandate = Mandate(1, "jan", "bot", ("*",), None, None, None, None, LATER)
    async with db.write() as tx:
        amended = await approvals.amend(tx, asked.id, OTHER, {}, replace(BOT, owner="eva", mandate=mandate))
    assert amended.excluded == ["bot", "eva", "jan"]
    assert [await vote(db, amended, who) for who in (EVA, JAN, OTA)] == ["maker_is_not_checker"] * 2 + ["open"]


async def test_it_is_over_to_the_second_before_any_vote_or_use(db: Database, clock: SetClock) -> None:
    asked, approved = await ask(db), await ask(db)
    assert [await vote(db, approved, who) for who in (EVA, JAN)] == ["open", "approved"]
    clock.set("2031-05-06T07:59:59.999999")
    assert await vote(db, asked, EVA) == "open"
    clock.set("2031-05-06T08:00:00")
    assert await vote(db, asked, JAN) == "approval_closed"
    assert await consume(db, approved) == "approval_closed"
    for each in (asked, approved):
        assert await status(db, each) == "expired"
        assert ("approvals.expire", {}) in [(verb, detail) for _, verb, detail in await verbs(db, each)]
    async with db.write() as tx:
        assert await approvals.expire_due(tx) == []


async def test_the_clock_alone_ends_what_nobody_looks_at(db: Database, clock: SetClock) -> None:
    asked, later = await ask(db), await ask(db, expires_s=3601)
    clock.set("2031-05-06T08:00:00")
    async with db.write() as tx:
        assert [(each.approval_id, each.clock) for each in await approvals.expire_due(tx)] == [(asked.id, "expired")]
        assert await approvals.expire_due(tx) == []
    assert (await status(db, asked), await status(db, later)) == ("expired", "open")
    assert [verb for _, verb, _ in await verbs(db, asked)] == ["approvals.ask", "approvals.expire"]


async def test_an_escalation_widens_who_may_vote_and_not_how_many_must(db: Database, clock: SetClock) -> None:
    escalate = Escalation(600, ("admin",))
    asked, untouched = await ask(db, escalate=escalate), await ask(db, escalate=escalate)
    boss, chief = person("boss", "admin"), person("chief", "admin")
    clock.set("2031-05-06T07:09:59")
    assert await vote(db, asked, boss) == "role_missing"
    clock.set("2031-05-06T07:10:00")
    async with db.write() as tx:
        # The one in hand is left to whoever has it, and the vote itself sees that it is time.
        assert await vote(db, asked, boss) == "open"
        assert [(each.approval_id, each.clock) for each in await approvals.expire_due(tx)] == [(untouched.id, "escalated")]
        assert await approvals.expire_due(tx) == []
    assert await vote(db, asked, boss) == "voted_already"
    assert await vote(db, asked, person("fero", "operator")) == "role_missing"
    assert await vote(db, asked, chief) == "approved"
    assert [verb for _, verb, _ in await verbs(db, asked)] == [
        "approvals.ask", "approvals.refuse_vote", "approvals.escalate", "approvals.vote", "approvals.refuse_vote",
        "approvals.refuse_vote", "approvals.vote",
    ]  # fmt: skip


@pytest.mark.parametrize("who", [BOT, person("olga"), person("root", "admin")])
async def test_who_asked_or_stands_behind_them_or_an_admin_takes_it_back(db: Database, who: Principal) -> None:
    asked, approved = await ask(db), await ask(db, approve=(("approver", 1),))
    assert await vote(db, approved, EVA) == "approved"
    async with db.write() as tx:
        with pytest.raises(Forbidden, match="not_the_maker"):
            await approvals.withdraw(tx, asked.id, EVA)
    for each in (asked, approved):
        async with db.write() as tx:
            assert (await approvals.withdraw(tx, each.id, who)).status == "withdrawn"
        assert await vote(db, each, JAN) == "approval_closed"
        assert await consume(db, each) == "approval_closed"
        async with db.write() as tx:
            with pytest.raises(Conflict, match="approval_closed"):
                await approvals.withdraw(tx, each.id, who)


async def test_two_people_break_the_glass_and_a_third_reviews_it(db: Database) -> None:
    asked = await ask(db, approve=(("approver", 5),))
    root = person("root", "admin")

    async def break_glass(who: Principal, digest: bytes = DIGEST) -> str:
        async with db.write() as tx:
            became = await approvals.break_glass(tx, asked.id, who, digest, reason="the bridge is on fire")
        return became.code if isinstance(became, TallystickError) else became.status

    async with db.write() as tx:
        with pytest.raises(Invalid, match="reason_missing"):
            await approvals.break_glass(tx, asked.id, EVA, DIGEST, reason=" ")
    refused = [(BOT, "agents_never_vote"), (house("cli"), "only_people_vote"), (person("olga"), "maker_is_not_checker"),
               (person("fero", "operator", "auditor"), "role_missing")]  # fmt: skip
    for who, code in refused:
        assert await break_glass(who) == code
    assert await break_glass(EVA, OTHER) == "approval_changed"
    # A vote and a broken glass are two things that one person may say.
    assert await vote(db, asked, EVA) == "open"
    assert await break_glass(EVA) == "open"
    assert await break_glass(EVA) == "voted_already"
    async with db.write() as tx:
        assert await approvals.open_reviews(tx) == 0
    assert await break_glass(root) == "approved"
    assert await consume(db, asked) is None
    async with db.write() as tx:
        assert await approvals.open_reviews(tx) == 1
        (owed,) = await approvals.reviews(tx, open=True)
        assert (await approvals.get(tx, asked.id)).broken_at is not None
    assert (owed.approval_id, owed.broken_by, owed.verdict) == (asked.id, ["eva", "root"], None)

    async def review(who: Principal) -> str:
        try:
            async with db.write() as tx:
                return str((await approvals.close_review(tx, asked.id, who, "not_justified", "it was a candle")).verdict)
        except TallystickError as refusal:
            return refusal.code

    told = [(BOT, "agents_never_vote"), (house("cli"), "only_people_vote"), (EVA, "reviewer_took_part"),
            (root, "reviewer_took_part"), (person("olga"), "reviewer_took_part"),
            (person("fero", "operator"), "role_missing")]  # fmt: skip
    for who, code in told:
        assert await review(who) == code
    assert await review(person("hana", "auditor")) == "not_justified"
    assert await review(OTA) == "review_closed"
    async with db.write() as tx:
        assert await approvals.open_reviews(tx) == 0
        assert await approvals.reviews(tx, open=True) == []
        assert [(each.closed_by, each.verdict) for each in await approvals.reviews(tx)] == [("hana", "not_justified")]
        assert [(each.said_by, each.text) for each in await approvals.comments(tx, asked.id)] == [("hana", "it was a candle")]
    told_verbs = [verb for _, verb, _ in await verbs(db, asked)]
    assert told_verbs.count("approvals.break_glass") == 2
    assert told_verbs.count("approvals.refuse_break_glass") == 6
    assert told_verbs[-2:] == ["approvals.comment", "approvals.review"]


async def test_an_amendment_mends_the_glass(db: Database) -> None:
    asked = await ask(db)
    async with db.write() as tx:
        await approvals.break_glass(tx, asked.id, EVA, DIGEST, reason="now")
        amended = await approvals.amend(tx, asked.id, OTHER, {}, BOT)
        became = await approvals.break_glass(tx, asked.id, JAN, OTHER, reason="now")
    assert isinstance(became, Approval)
    assert (became.status, amended.version) == ("open", 2)


async def test_whoever_sees_it_may_remark_on_it(db: Database) -> None:
    asked = await ask(db)
    async with db.write() as tx:
        await approvals.comment(tx, asked.id, BOT, "the invoice is in case 12")
        await approvals.comment(tx, asked.id, EVA, "I do not see it")
        for text, code in (("", "text_missing"), ("x" * 4001, "text_too_long"), ("\x00", "text_malformed")):
            with pytest.raises(Invalid, match=code):
                await approvals.comment(tx, asked.id, EVA, text)
        with pytest.raises(NotFound, match="unknown_approval"):
            await approvals.comment(tx, 99, EVA, "hello?")
        said = await approvals.comments(tx, asked.id)
    assert [(each.said_by, each.text) for each in said] == [("bot", "the invoice is in case 12"), ("eva", "I do not see it")]


async def test_what_is_not_there_is_unknown_to_every_verb(db: Database) -> None:
    async with db.write() as tx:
        refusals = [
            await approvals.vote(tx, 99, EVA, "approve", DIGEST),
            await approvals.break_glass(tx, 99, EVA, DIGEST, reason="now"),
            await approvals.consume(tx, 99, DIGEST, by="gate"),
        ]
        assert [refusal.code for refusal in refusals if isinstance(refusal, NotFound)] == ["unknown_approval"] * 3
        for call in (approvals.get(tx, 99), approvals.withdraw(tx, 99, EVA), approvals.amend(tx, 99, DIGEST, {}, EVA)):
            with pytest.raises(NotFound, match="unknown_approval"):
                await call
        asked = await approvals.ask(tx, QUESTION, BOT)
        with pytest.raises(NotFound, match="unknown_review"):
            await approvals.review(tx, asked.id)
        with pytest.raises(NotFound, match="unknown_review"):
            await approvals.close_review(tx, asked.id, EVA, "justified", "fine")
        with pytest.raises(Invalid, match="unknown_verdict"):
            await approvals.close_review(tx, asked.id, EVA, "fine", "fine")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"action": "no spaces"}, "name_malformed"),
        ({"digest": b"short"}, "digest_malformed"),
        ({"approve": ()}, "quorum_malformed"),
        ({"approve": (("approver", 0),)}, "quorum_malformed"),
        ({"approve": (("approver", 1), ("approver", 1))}, "quorum_malformed"),
        ({"approve": (("approver", 21),)}, "quorum_malformed"),
        ({"approve": tuple((f"r{n}", 1) for n in range(9))}, "quorum_malformed"),
        ({"approve": (("an approver", 1),)}, "name_malformed"),
        ({"escalate": Escalation(5, ())}, "quorum_malformed"),
        ({"escalate": Escalation(-1, ("admin",))}, "expiry_out_of_range"),
        ({"excluded": frozenset(str(n) for n in range(101))}, "quorum_malformed"),
        ({"expires_s": 0}, "expiry_out_of_range"),
        ({"expires_s": 366 * 86_400 + 1}, "expiry_out_of_range"),
        ({"shown": {"text": "x" * 1024 * 1024}}, "shown_too_large"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(db: Database, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(Invalid, match=code):
        await ask(db, **changes)


async def test_questions_are_found_by_what_they_are_and_whose(db: Database, clock: SetClock) -> None:
    first = await ask(db)
    second = await ask(db, person("ivan"), action="order", maker="ivan", approve=(("admin", 1),))
    third = await ask(db, escalate=Escalation(60, ("auditor",)))
    assert await vote(db, second, person("root", "admin")) == "approved"

    async def found(**asked: Any) -> list[int]:
        async with db.write() as tx:
            return [each.id for each in await approvals.page(tx, **asked)]

    assert await found() == [third.id, second.id, first.id]
    assert await found(limit=1, before=third.id) == [second.id]
    assert await found(status="approved") == await found(action="order") == await found(role="admin") == [second.id]
    assert await found(role="approver") == await found(maker="bot") == await found(of="olga") == [third.id, first.id]
    assert await found(role="auditor") == []
    clock.set("2031-05-06T07:01:00")
    async with db.write() as tx:
        await approvals.expire_due(tx)
    assert await found(role="auditor") == [third.id]
    with pytest.raises(Invalid, match="unknown_status"):
        await found(status="maybe")


async def test_what_was_shown_and_said_is_in_the_record_by_salted_digests(db: Database, owner: psycopg.Connection[Any]) -> None:
    asked = await ask(db)
    await vote(db, asked, EVA, reason="the secret of Mrs Nova")
    async with db.write() as tx:
        await approvals.comment(tx, asked.id, EVA, "Mrs Nova phoned")
    leaves = "".join(leaf for (leaf,) in owner.execute("select leaf from audit.event").fetchall())
    assert "Nova" not in leaves
    assert "5.00" not in leaves
    assert DIGEST.hex() not in leaves
    for kind, texts in (("shown", "shown"), ("vote", "vote"), ("comment", "comment")):
        ((items, refs, digest),) = owner.execute(
            "select e.items, e.refs, sha256(t.salt || convert_to(t.text, 'UTF8'))"
            f"  from audit.event e, approvals.{texts}_texts(e.refs) t where e.items_kind = 'approval_{kind}'".encode()
        ).fetchall()
        assert (bytes(items), len(refs)) == (bytes(digest), 1)
    async with db.write() as tx:
        for kind, query in approvals.RECORDED.items():
            ids = await tx.all(approvals.RECORDED_IDS[kind], {"after": 0, "limit": 10})
            assert [row.text is not None for row in await tx.all(query, {"ids": ids})] == [True]


async def test_the_application_changes_no_question_but_by_the_verbs(database: TestDatabase) -> None:
    with psycopg.connect(database.app_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("update approvals.approval set status = 'approved'")
    with psycopg.connect(database.owner_url) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute("delete from approvals.approval")
    assert caught.value.sqlstate == "TS002"


async def test_a_worker_ends_what_is_over(db: Database, clock: SetClock) -> None:
    asked = await ask(db)
    clock.set("2031-05-06T08:00:00")
    await Sweeper(db, "w").sweep()
    assert await status(db, asked) == "expired"
