"""Whom an account knows and a mandate names: accounts of the bank by their names, others by their bank and their account."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tallystick import actions, identity, ledger, payments, policy
from tallystick.actions import Party, gate
from tallystick.actions.model import Asked
from tallystick.db import Database, migrate
from tallystick.identity import Principal, house
from tallystick.kit import Invalid
from tallystick.policy.kinds import beyond_mandate
from tallystick.policy.normal import outside_form, payee_form
from tests.conftest import TestDatabase
from tests.permitted import strict
from tests.serving import fund

JSON = dict[str, Any]
CLERK = house("clerk")
LANDLORD = Party("Landlord", "2501", "KOMBCZPP")
THIEF = Party("Landlord", "2501", "EVILBANK")


async def _bank(db: Database) -> Database:
    await fund(db)
    async with db.write() as tx:
        await payments.register(tx, "me", name="NOSTRO", bank="B", their_account="1", currency="CZK")
        await policy.apply(tx, {"name": "p", "rules": [{"id": "all", "allow": True}]}, by="test")
    return strict(db)


def _pay(to: Party, account: str = "ALICE") -> actions.SendPayment:
    return actions.SendPayment("NOSTRO", account, "1.00", to)


async def _do(db: Database, payload: Any, by: Principal = CLERK) -> Any:
    return await actions.perform(db, by, payload)


async def _facts(db: Database, payload: Any) -> JSON:
    async with db.write() as tx:
        return dict(await actions.registry.of(payload).facts(tx, payload))


async def _known(db: Database, to: Party) -> bool:
    return (await _facts(db, _pay(to)))["payee_known_s"] is not None


async def test_the_same_number_at_another_bank_is_another_payee(db: Database) -> None:
    plain = await _bank(db)
    await _do(plain, _pay(LANDLORD))
    assert await _known(plain, LANDLORD)
    assert await _known(plain, Party("Anybody", " 25 01", "kombczpp"))
    for other in (THIEF, Party("Landlord", "2501"), Party("Landlord", "KOMBCZPP/2501"), Party("2501", None, "KOMBCZPP")):
        assert not await _known(plain, other), other
    assert [one.payee for one in await _payees(plain)] == ["KOMBCZPP/2501"]


async def _payees(db: Database) -> list[actions.Payee]:
    async with db.read() as tx:
        return await actions.payees(tx, "ALICE")


@pytest.mark.parametrize("bank", ["KOMBCZPP", None])
async def test_a_payee_that_was_added_and_one_of_a_standing_order_are_known_at_their_bank(
    db: Database, bank: str | None
) -> None:
    plain = await _bank(db)
    await _do(plain, actions.AddPayee("ALICE", "2501", "Landlord", bank))
    order = actions.CreateOrder("RENT", "ALICE", "NOSTRO", Party("Eva", "77", bank), "1.00", datetime(2099, 1, 31).date())
    await _do(plain, order)
    assert await _known(plain, Party("Landlord", "2501", bank))
    assert await _known(plain, Party("Eva", "77", bank))
    assert not await _known(plain, THIEF)
    assert not await _known(plain, Party("Eva", "77", "EVILBANK"))


async def test_nobody_outside_is_taken_for_an_account_of_the_bank_nor_the_other_way(db: Database) -> None:
    plain = await _bank(db)
    async with db.write() as tx:
        await ledger.open_accounts(tx, [ledger.AccountSpec("CAROL", "CZK")])
    await _do(plain, actions.AddPayee("ALICE", "BOB", "Bob"))
    transfer = actions.TransferPayload("ALICE", "BOB", "1.00", "CZK")
    assert (await _facts(plain, transfer))["payee_known_s"] is not None
    for outside in (Party("Bob", "BOB"), Party("Bob", "BOB", "EVILBANK"), Party("Bob", "b o b", "EVILBANK")):
        assert not await _known(plain, outside)
    await _do(plain, _pay(Party("Carol", "CAROL")))
    await _do(plain, actions.AddPayee("ALICE", "CAROL", "Carol", ""))
    carol = actions.TransferPayload("ALICE", "CAROL", "1.00", "CZK")
    assert (await _facts(plain, carol))["payee_known_s"] is None


async def test_adding_an_account_of_the_bank_says_its_kind_and_one_with_a_bank_is_outside(db: Database) -> None:
    plain = await _bank(db)
    inside = await _facts(plain, actions.AddPayee("ALICE", "BANK"))
    assert (inside["counterparty"], inside["counterparty_kind"], "payee" in inside) == ("BANK", "internal", False)
    outside = await _facts(plain, actions.AddPayee("ALICE", "BANK", None, "KOMBCZPP"))
    assert (outside["payee"], outside["counterparty_kind"]) == ("KOMBCZPP/BANK", "external")
    with pytest.raises(Invalid, match="text_too_long"):
        await _facts(plain, actions.AddPayee("ALICE", "x" * 150, None, "y" * 100))


@pytest.mark.parametrize(
    ("named", "passes"),
    [
        (["KOMBCZPP/2501"], {"KOMBCZPP"}),
        (["kombczpp/25 01"], {"KOMBCZPP"}),
        (["/2501"], {None}),
        (["2501"], set()),
        (["2501", "KOMBCZPP"], set()),
        (["KOMBCZPP/"], set()),
    ],
)
async def test_a_mandate_names_a_payee_outside_with_its_bank(db: Database, named: list[str], passes: set[str | None]) -> None:
    plain = await _bank(db)
    agent = await _agent(db, named)
    for bank in ("KOMBCZPP", "EVILBANK", None):
        answer = await _do(plain, _pay(Party("Anybody", "2501", bank)), agent)
        assert isinstance(answer, actions.Denied) == (bank not in passes), bank
    # By a name that the payer writes nobody passes.
    for other in (Party("2501", None, "X"), Party("KOMBCZPP/2501", ""), Party("KOMBCZPP/2501")):
        assert isinstance(await _do(plain, _pay(other), agent), actions.Denied)


async def _agent(db: Database, payees: list[str]) -> Principal:
    async with db.write() as tx:
        await identity.add_principal(tx, "jan", kind="person", by="t", roles=("operator",))
        await identity.add_principal(tx, "bot", kind="agent", by="t", owner="jan", risk_tier="low")
        await identity.set_reach(tx, "bot", accounts=["ALICE"], customers=[], by="t")
        until = datetime.now(UTC) + timedelta(days=1)
        new_mandate = identity.NewMandate("jan", "bot", ["payment.send"], until, payees=payees)
        mandate = await identity.grant_mandate(tx, new_mandate, by="jan")
        secret = (await identity.create_key(tx, "bot", by="t", mandate_id=mandate.id)).secret
        found = await identity.authenticate(tx, secret)
        assert found is not None
        return found


def _beyond(payees: list[str], **facts: Any) -> list[Any]:
    terms = {
        "operations": ["*"], "accounts": None, "payees": payees, "until": "2100-01-01T00:00:00Z", "max_amount": None,
        "total": None,
    }  # fmt: skip
    about = {"action": "x", "at": "2026-01-01T00:00:00Z", "account": None, "amount": None, "mandate": terms}
    return list(beyond_mandate(about | facts))


def test_a_type_that_tells_no_payee_has_one_outside_all_the_same() -> None:
    facts = {"counterparty": "BOB", "counterparty_kind": "external"}
    (about,) = gate._about(CLERK, [Asked("plugged.in", b"", facts, frozenset())])
    assert about["payee"] == "/BOB"
    assert _beyond(["BOB"], **facts, payee=about["payee"])
    assert not _beyond(["/BOB"], **facts, payee=about["payee"])


def test_a_decision_of_before_is_replayed_by_the_number_alone() -> None:
    assert not _beyond(["25 01"], counterparty="2501", counterparty_kind="external")
    assert _beyond(["2502"], counterparty="2501", counterparty_kind="external")


def test_an_account_of_the_bank_is_named_by_its_name() -> None:
    assert not _beyond(["BOB"], counterparty="BOB", counterparty_kind="customer")
    assert _beyond(["/BOB", "X/BOB"], counterparty="BOB", counterparty_kind="customer")
    assert not _beyond(["BOB"], counterparty="BOB")


def test_no_bank_and_account_are_written_as_others_are() -> None:
    assert outside_form("KOMB/CZPP", "2501") == "KOMBCZPP/2501"
    assert outside_form("KOMB", "CZPP/2501") == "KOMB/CZPP/2501" == payee_form("komb / czpp/2501")
    assert outside_form(None, "19-2000145399/0800") == "/19-2000145399/0800" == payee_form("/19-2000145399/0800")
    # What may be another account is another one.
    assert len({outside_form("B", one) for one in ("1-92", "19-2", "192", "\u0661\u0669\u0662", "1\u200b92", "19\u00b2")}) == 6


@pytest.fixture
def before(empty_database: TestDatabase) -> Iterator[psycopg.Connection]:
    """A database of before payees had a bank, in which ALICE (1) and BOB (2) have accounts."""
    migrate(empty_database.owner_url, to="0028")
    with psycopg.connect(empty_database.owner_url, autocommit=True) as connection:
        connection.execute(
            "insert into ledger.asset (code, kind, scale, digest) values ('CZK', 'currency', 2, '') on conflict do nothing"
        )
        connection.execute(
            "insert into ledger.account (name, asset, kind, digest)"
            " select u.name, 'CZK', 'customer', decode(repeat('00', 32), 'hex') from unnest(array['ALICE', 'BOB']) as u (name)"
        )
        yield connection


def test_who_was_known_by_a_number_alone_is_known_at_no_bank(before: psycopg.Connection, empty_database: TestDatabase) -> None:
    rows = [("BOB", None), ("25 01", "Landlord"), ("2501", "Later"), ("de89", None), ("ALICE", "Somebody outside")]
    for day, (payee, label) in enumerate(rows):
        before.execute(
            "insert into actions.payee (account_id, payee, label, since, by_principal)"
            " select id, %s, %s, timestamptz '2026-01-01' + %s * interval '1 day', 'x'"
            "   from ledger.account where name = 'ALICE'",
            (payee, label, day),
        )
    migrate(empty_database.owner_url)
    assert before.execute("select payee, label from actions.payee order by payee").fetchall() == [
        ("/2501", "Landlord"), ("/ALICE", "Somebody outside"), ("/DE89", None), ("BOB", None),
    ]  # fmt: skip


FORMS = (
    "DE89 3704", "de893704", "DE89-3704", "DE89.3704", "DE89/3704", "DE89\u00a03704", "DE89\u200b3704", "\uff24E893704",
    "DE893704\u200d", "DE\u03498\u20dd93704",
)  # fmt: skip


def _counters(**facts: Any) -> set[str]:
    window = {"count": {"at_most": 1}, "per": "counterparty", "over": "24h"}
    rules = policy.parse({"name": "p", "rules": [{"id": "r", "window": window}]})
    (key,) = rules.searches({"action": "x", "kind": "agent", "principal": "bot"} | facts)[0]
    return {key.key}


def test_one_account_of_the_world_is_one_counter_however_it_and_its_bank_are_written() -> None:
    written = [
        _counters(counterparty=one, counterparty_kind="external", payee=outside_form(bank, one))
        for one in FORMS
        for bank in (None, "COBADEFF", "EVILBANK")
    ]
    # The name that most counters had before goes on.
    assert set.union(*written) == _counters(counterparty="DE893704", counterparty_kind="external")


def test_accounts_of_the_bank_have_a_counter_each() -> None:
    names = ("ACC-1-11", "ACC-11-1", "ACC111")
    assert len(set.union(*(_counters(counterparty=one, counterparty_kind="customer") for one in names))) == 3


async def test_a_window_of_a_payee_is_not_begun_anew_by_another_spelling(db: Database) -> None:
    plain = await _bank(db)
    limit = {"count": {"at_most": 2}, "per": "counterparty", "over": "24h"}
    rule = {"id": "r", "when": {"action": "payment.send"}, "window": limit, "otherwise": "deny"}
    async with db.write() as tx:
        await policy.apply(tx, {"name": "p", "rules": [{"id": "all", "allow": True}, rule]}, by="test")
    answers = [await _do(plain, _pay(Party("M", one, "B"))) for one in FORMS[:5]]
    assert [isinstance(one, actions.Denied) for one in answers] == [False, False, True, True, True]
