"""Statements: an account's story adds up for any period, in every form, in pages and as a stream, whatever is posted."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick import ledger, statements
from tallystick.cli.runtime import console
from tallystick.db import Database
from tallystick.http import HttpSettings
from tallystick.kit import Invalid
from tests.command_line import command
from tests.conftest import TestDatabase
from tests.serving import body_of, code_of, live, serving

DAY = datetime(2026, 3, 1, tzinfo=UTC)
EVER = {"from": "2000-01-01", "to": "2100-01-01"}
FORMS = {"json": "application/json", "csv": "text/csv", "camt053": "application/xml"}


async def _open(db: Database, *names: str, asset: str = "CZK") -> list[int]:
    async with db.write() as tx:
        opened = await ledger.open_accounts(tx, [ledger.AccountSpec(name, asset, "internal", None) for name in names])
    return [account.id for account in opened]


async def _post(db: Database, *journals: ledger.Journal) -> list[ledger.Posted]:
    async with db.write() as tx:
        posted = await ledger.post(tx, list(journals))
    assert [one.refusal for one in posted] == [None] * len(journals)
    return posted


def _transfer(debit: int, credit: int, amount: int, *, at: datetime | None = None, **more: Any) -> ledger.Journal:
    return ledger.Journal("t", ledger.transfer(debit=debit, credit=credit, amount=amount), "test", effective_at=at, **more)


async def _ref(tx: Any, name: str) -> ledger.AccountRef:
    return (await ledger.references(tx, [name]))[name]


async def _all_pages(client: httpx.AsyncClient, account: str, limit: int, **query: str) -> tuple[Any, list[Any]]:
    head, items = None, []
    parameters: dict[str, Any] = {**EVER, **query, "limit": limit}
    while True:
        response = await client.get(f"/v1/accounts/{account}/statement", params=parameters)
        assert response.status_code == 200, response.text
        page = body_of(response)
        assert (page["statement"] is None) == ("cursor" in parameters)
        head = head or page["statement"]
        items += page["items"]
        if page["next_cursor"] is None:
            return head, items
        parameters["cursor"] = page["next_cursor"]


async def _file(client: httpx.AsyncClient, account: str, form: str, **query: str) -> httpx.Response:
    response = await client.get(f"/v1/accounts/{account}/statement", params={**EVER, **query, "format": form})
    assert response.status_code == 200, response.text
    return response


@pytest.mark.parametrize("by", ["posted", "effective"])
async def test_three_thousand_entries_are_the_same_in_pages_as_csv_and_as_camt053(db: Database, by: str) -> None:
    bank, alice = await _open(db, "bank", "alice")
    pairs = ((alice, bank), (bank, alice), (bank, alice))
    for batch in range(6):
        await _post(
            db,
            *(
                _transfer(*pairs[number % 3], number + 1, at=DAY + timedelta(hours=number * 7 % 500))
                for number in range(batch, 3000, 6)
            ),
        )
    async with serving(db) as client:
        head, items = await _all_pages(client, "alice", 200, by=by)
        table = statements.read_csv((await _file(client, "alice", "csv", by=by)).content, account="a", currency="CZK", scale=2)
        (camt,) = statements.read_camt053(
            (await _file(client, "alice", "camt053", by=by)).content, scale_of={"CZK": 2}.__getitem__
        )
    assert len(items) == 3000
    assert len({item["seq"] for item in items}) == 3000
    order = [(item[f"{by}_at"], item["seq"]) for item in items]
    assert order == sorted(order)
    amounts = [_minor(item["amount"]) for item in items]
    assert [line.amount for line in table.lines] == [line.amount for line in camt.lines] == amounts
    assert [line.reference for line in table.lines] == [line.reference for line in camt.lines]
    assert [line.reference for line in table.lines] == [item["journal_id"] for item in items]
    assert (table.opening, table.closing) == (camt.opening, camt.closing) == (0, sum(amounts))
    assert table.difference == camt.difference == 0
    balance = 0
    for item, amount in zip(items, amounts, strict=True):
        balance += amount
        assert _minor(item["balance"]) == balance
    assert (_minor(head["opening"]), _minor(head["closing"])) == (0, balance)
    assert head["debits"]["count"] + head["credits"]["count"] == 3000
    assert _minor(head["credits"]["sum"]) - _minor(head["debits"]["sum"]) == balance


def _minor(amount: str) -> int:
    return int(amount.replace(".", ""))


async def test_back_dated_and_future_entries_belong_to_their_value_date_and_to_the_day_they_were_booked(db: Database) -> None:
    bank, alice = await _open(db, "bank", "alice")
    before = datetime.now(UTC) - timedelta(days=1)
    await _post(db, _transfer(bank, alice, 100, at=DAY))
    await _post(db, _transfer(bank, alice, 20, at=datetime.now(UTC) + timedelta(days=400)))
    await _post(db, _transfer(bank, alice, 3, at=DAY - timedelta(days=1)))
    after = datetime.now(UTC) + timedelta(days=1)
    async with db.snapshot() as tx:
        account = await _ref(tx, "alice")
        booked = await statements.statement(tx, account, start=before, end=after)
        valued = await statements.statement(tx, account, start=DAY, end=DAY + timedelta(days=1), by="effective")
        lines = [line async for line in statements.lines(tx, booked)]
        valued_lines = [line async for line in statements.lines(tx, valued)]
        at = await ledger.balance_at(tx, alice, at=datetime.now(UTC), by="effective")
    assert (booked.opening, [line.balance for line in lines], booked.closing) == (0, [100, 120, 123], 123)
    assert (valued.opening, [(line.entry.seq, line.balance) for line in valued_lines], valued.closing) == (3, [(1, 103)], 103)
    assert at.amount == 103


async def test_a_period_takes_its_first_moment_and_not_its_last(db: Database) -> None:
    bank, alice = await _open(db, "bank", "alice")
    for shift in (-1, 0, 1, 2):
        await _post(db, _transfer(bank, alice, (1, 1, 10, 100)[shift + 1], at=DAY + timedelta(days=shift)))
    async with db.snapshot() as tx:
        account = await _ref(tx, "alice")
        found = await statements.statement(tx, account, start=DAY, end=DAY + timedelta(days=2), by="effective")
        assert (found.opening, found.totals.credited, found.closing) == (1, 11, 12)
        posted = await ledger.entries(tx, alice, order="asc")
        first, last = posted[1].posted_at, posted[3].posted_at
        found = await statements.statement(tx, account, start=first, end=last)
        assert [line.entry.seq async for line in statements.lines(tx, found)] == [2, 3]


@pytest.mark.parametrize("form", ["json", "csv", "camt053"])
async def test_an_empty_period_has_its_balances_and_nothing_else(db: Database, form: str) -> None:
    bank, alice = await _open(db, "bank", "alice")
    await _post(db, _transfer(bank, alice, 250))
    async with serving(db) as client:
        response = await _file(client, "alice", form, **{"from": "2090-01-01", "to": "2090-01-01"})
    if form == "json":
        page = body_of(response)
        assert (page["items"], page["next_cursor"]) == ([], None)
        assert (page["statement"]["opening"], page["statement"]["closing"]) == ("2.50", "2.50")
    else:
        read = statements.read_csv(response.content, account="a", currency="CZK", scale=2) if form == "csv" else None
        file = read or statements.read_camt053(response.content, scale_of={"CZK": 2}.__getitem__)[0]
        assert (file.opening, file.closing, file.lines) == (250, 250, ())


@pytest.mark.parametrize(("scale", "shown", "booked"), [(0, "1250", "-7"), (3, "1.250", "-0.007")])
async def test_an_asset_of_any_scale_is_exact(
    db: Database, database: TestDatabase, scale: int, shown: str, booked: str
) -> None:
    with psycopg.connect(database.owner_url) as owner:
        owner.execute("set session_replication_role = replica")
        row = owner.execute(
            "select string_agg(quote_ident(attname), ', ') from pg_attribute"
            " where attrelid = 'ledger.asset'::regclass and attnum > 0 and attname <> all ('{code,scale}')"
        ).fetchone()
        assert row is not None
        owner.execute(
            f"insert into ledger.asset (code, scale, {row[0]}) select 'XTS', {scale}, {row[0]} from ledger.asset limit 1"
        )
    bank, alice = await _open(db, "bank", "alice", asset="XTS")
    await _post(db, _transfer(bank, alice, 1257), _transfer(alice, bank, 7))
    async with serving(db) as client:
        head, items = await _all_pages(client, "alice", 50)
        camt = (await _file(client, "alice", "camt053")).content
        table = (await _file(client, "alice", "csv")).text
    assert (head["closing"], items[1]["amount"]) == (shown, booked)
    assert f'<Amt Ccy="XTS">{booked[1:]}</Amt><CdtDbtInd>DBIT</CdtDbtInd>' in camt.decode()
    assert f",{booked},{shown},XTS," in table


async def test_a_reversal_is_told_in_every_form(db: Database) -> None:
    bank, alice = await _open(db, "bank", "alice")
    (posted,) = await _post(db, _transfer(bank, alice, 500))
    await _post(db, _transfer(alice, bank, 200, reverses=posted.journal_id))
    async with serving(db) as client:
        _, items = await _all_pages(client, "alice", 50)
        camt = (await _file(client, "alice", "camt053")).text
        rows = list(csv.DictReader(io.StringIO((await _file(client, "alice", "csv")).text)))
    assert [item["reverses"] for item in items] == [None, str(posted.journal_id)]
    assert re.findall(r"<CdtDbtInd>(\w+)</CdtDbtInd>(<RvslInd>true</RvslInd>)?<Sts>", camt) == [
        ("CRDT", ""),
        ("DBIT", "<RvslInd>true</RvslInd>"),
    ]
    assert [row["reversal"] for row in rows] == ["", "false", "true", ""]


async def test_texts_with_xml_specials_and_formulas_come_through(db: Database) -> None:
    bank, alice = await _open(db, "bank", "A:1@x_y-z.7")
    texts = ["<&>\"'", "=HYPERLINK(1)", "]]>", "@SUM", "-1", "'=x", "a,b;c\nd", "Žluťoučký", "\tx"]
    await _post(db, *(_transfer(bank, alice, 1, meta={"text": text, "end_to_end_id": f"E{n}"}) for n, text in enumerate(texts)))
    async with serving(db) as client:
        camt = await _file(client, "A:1@x_y-z.7", "camt053")
        table = await _file(client, "A:1@x_y-z.7", "csv")
    (file,) = statements.read_camt053(camt.content, scale_of={"CZK": 2}.__getitem__)
    again = statements.read_csv(table.content, account="a", currency="CZK", scale=2)
    assert [line.text for line in file.lines] == [line.text for line in again.lines] == texts
    assert file.account == "A:1@x_y-z.7"
    assert again.lines[3].end_to_end_id == "E3"
    cells = [row["text"] for row in csv.DictReader(io.StringIO(table.text, newline="")) if row["row"] == "entry"]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
    assert camt.headers["content-disposition"] == 'attachment; filename="statement-A_1_x_y-z.7-20000101-21000101.xml"'


async def test_pages_of_a_statement_stay_the_same_while_it_grows(db: Database) -> None:
    bank, alice = await _open(db, "bank", "alice")
    await _post(db, *(_transfer(bank, alice, 1, at=DAY + timedelta(days=number)) for number in range(10)))
    for by in ("posted", "effective"):
        async with serving(db) as client:
            query: dict[str, Any] = {**EVER, "by": by, "limit": 4}
            first = body_of(await client.get("/v1/accounts/alice/statement", params=query))
            await _post(db, _transfer(bank, alice, 1000, at=DAY + timedelta(hours=1)), _transfer(alice, bank, 5))
            seen, cursor = first["items"], first["next_cursor"]
            while cursor:
                page = body_of(await client.get("/v1/accounts/alice/statement", params={**query, "cursor": cursor}))
                seen, cursor = seen + page["items"], page["next_cursor"]
        assert len(seen) == first["statement"]["debits"]["count"] + first["statement"]["credits"]["count"]
        assert seen[-1]["balance"] == first["statement"]["closing"]


async def test_a_statement_that_does_not_add_up_is_not_given(db: Database, database: TestDatabase) -> None:
    bank, alice = await _open(db, "bank", "alice")
    await _post(db, *(_transfer(bank, alice, 10) for _ in range(3)))
    with psycopg.connect(database.owner_url) as owner:
        owner.execute("set session_replication_role = replica")
        owner.execute("update ledger.entry set amount = amount + 1 where account_id = %s and seq = 2", (alice,))
    async with db.snapshot() as tx:
        with pytest.raises(statements.BooksBroken):
            await statements.statement(
                tx, await _ref(tx, "alice"), start=datetime(2000, 1, 1, tzinfo=UTC), end=datetime(2100, 1, 1, tzinfo=UTC)
            )
    async with serving(db) as client:
        for form in FORMS:
            answer = await client.get("/v1/accounts/alice/statement", params={**EVER, "format": form})
            assert (answer.status_code, code_of(answer)) == (500, "internal_error")


async def test_lines_that_lead_elsewhere_end_in_an_error_and_not_in_a_file(db: Database) -> None:
    bank, alice = await _open(db, "bank", "alice")
    await _post(db, *(_transfer(bank, alice, 10) for _ in range(3)))
    async with db.snapshot() as tx:
        head = await statements.statement(
            tx, await _ref(tx, "alice"), start=datetime(2000, 1, 1, tzinfo=UTC), end=datetime(2100, 1, 1, tzinfo=UTC)
        )
        entries = [line.entry async for line in statements.lines(tx, head)]

    async def without_one() -> AsyncIterator[ledger.PastEntry]:
        for entry in entries[:-1]:
            yield entry

    with pytest.raises(statements.BooksBroken):
        _ = [chunk async for chunk in statements.csv_chunks(head, statements.model.running(head, without_one()))]


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "json"),
        ("*/*", "json"),
        ("text/csv", "csv"),
        ("text/*", "csv"),
        ("application/xml", "camt053"),
        ("text/xml", "camt053"),
        ("application/json;q=0.5, text/csv", "csv"),
        ("image/png, application/xml;q=0.1", "camt053"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "camt053"),
    ],
)
async def test_accept_chooses_the_form(db: Database, accept: str | None, form: str) -> None:
    await _open(db, "bank")
    headers = {} if accept is None else {"accept": accept}
    async with serving(db) as client:
        client.headers.pop("accept")
        answer = await client.get("/v1/accounts/bank/statement", params=EVER, headers=headers)
        assert answer.headers["content-type"].startswith(FORMS[form])
        told = await client.get("/v1/accounts/bank/statement", params={**EVER, "format": "csv"}, headers=headers)
        assert told.headers["content-type"] == "text/csv; header=present; charset=utf-8"
        assert (
            code_of(await client.get("/v1/accounts/bank/statement", params=EVER, headers={"accept": "image/png"}))
            == "http_error"
        )


async def test_what_makes_no_sense_is_refused_with_its_code(db: Database) -> None:
    await _open(db, "bank", "x" * 40)
    period = "from=2026-01-01&to=2026-02-01"
    refusals = {
        f"/v1/accounts/nobody/statement?{period}&format=csv": (404, "unknown_account"),
        "/v1/accounts/nobody/balance": (404, "unknown_account"),
        "/v1/accounts/bank/statement?from=2026-02-01&to=2026-01-01": (422, "period_malformed"),
        "/v1/accounts/bank/statement?from=2026-02-01&to=2026-01-01&format=csv": (422, "period_malformed"),
        "/v1/accounts/bank/statement?from=2026-02-01": (422, "validation_failed"),
        "/v1/accounts/bank/statement?from=1&to=2": (422, "validation_failed"),
        "/v1/accounts/bank/statement?from=2026-02-01T00:00:00&to=2026-02-02": (422, "validation_failed"),
        "/v1/accounts/bank/statement?from=2026-02-30&to=2026-03-02": (422, "validation_failed"),
        "/v1/accounts/bank/statement?from=0001-01-01&to=9999-12-31": (422, "validation_failed"),
        f"/v1/accounts/{'x' * 40}/statement?from=2026-01-01&to=2026-02-01&format=camt053": (422, "statement_not_expressible"),
        "/v1/accounts/bank/balance?version=1": (404, "unknown_version"),
        "/v1/accounts/bank/balance?version=0&at=2026-01-01": (422, "at_or_version"),
        "/v1/accounts/bank/balance?version=-1": (422, "validation_failed"),
        "/v1/journals/7": (404, "unknown_journal"),
        "/v1/journals?from=2026-02-01&to=2026-01-01": (422, "period_malformed"),
        "/v1/journals?account_id=nobody": (404, "unknown_account"),
        "/v1/accounts/bank/statement?from=2026-01-01&to=2026-02-01&cursor=WzEsInN0YXRlbWVudCIsMSwxXQ==": (
            422,
            "cursor_malformed",
        ),
    }
    async with serving(db) as client:
        for address, wanted in refusals.items():
            answer = await client.get(address)
            assert (answer.status_code, code_of(answer)) == wanted, address


async def test_balances_and_the_trial_balance_by_http(db: Database) -> None:
    bank, alice = await _open(db, "bank", "alice")
    (first,) = await _post(db, _transfer(bank, alice, 1000, at=DAY))
    await _post(db, _transfer(alice, bank, 250))
    assert first.posted_at is not None
    async with serving(db) as client:

        async def balance(**query: Any) -> tuple[str, int]:
            answer = body_of(await client.get("/v1/accounts/alice/balance", params=query))
            return answer["balance"], answer["entries"]

        assert await balance() == ("7.50", 2)
        assert await balance(version=1) == ("10.00", 1)
        assert await balance(version=0) == ("0.00", 0)
        assert await balance(at=first.posted_at.isoformat()) == ("10.00", 1)
        assert await balance(at="2026-03-01", by="effective") == ("10.00", 1)
        assert await balance(at="2026-02-28T23:59:59.999999Z", by="effective") == ("0.00", 0)
        assert await balance(at="2026-03-01T00:59:59+01:00", by="effective") == ("0.00", 0)
        for query in ({}, {"at": first.posted_at.isoformat()}, {"at": "2026-03-01", "by": "effective"}):
            trial = body_of(await client.get("/v1/trial-balance", params=query))
            czk = next(line for line in trial["items"] if line["currency"] == "CZK")
            assert (czk["difference"], czk["accounts"]) == ("0.00", 2)
            assert czk["debit_balances"] == czk["credit_balances"] == ("10.00" if query else "7.50")


async def test_journals_by_http(db: Database) -> None:
    bank, alice, bob = await _open(db, "bank", "alice", "bob")
    posted = [(await _post(db, _transfer(bank, to, 7, meta={"code": "x"})))[0] for to in (alice, bob) * 3]
    many = ledger.Journal("many", [(bank, -30), *[(alice, 1)] * 30], "test")
    (large,) = await _post(db, many)
    async with serving(db) as client:
        one = body_of(await client.get(f"/v1/journals/{posted[0].journal_id}"))
        assert (one["kind"], one["meta"], one["more_entries"]) == ("t", {"code": "x"}, False)
        assert sorted((leg["account_id"], leg["amount"]) for leg in one["entries"]) == [("alice", "0.07"), ("bank", "-0.07")]
        found, cursor = [], None
        while True:
            query: dict[str, Any] = {"limit": 2, "account_id": "alice", **({"cursor": cursor} if cursor else {})}
            page = body_of(await client.get("/v1/journals", params=query))
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert [item["id"] for item in found] == [
            str(j) for j in (large.journal_id, *(posted[n].journal_id for n in (4, 2, 0)))
        ]
        assert (len(found[0]["entries"]), found[0]["more_entries"]) == (20, True)
        assert len(body_of(await client.get(f"/v1/journals/{large.journal_id}"))["entries"]) == 31
        assert len(body_of(await client.get("/v1/journals", params={"kind": "many"}))["items"]) == 1


async def test_only_a_few_statements_are_streamed_at_a_time_and_their_places_come_back(
    db: Database, database: TestDatabase
) -> None:
    bank, alice = await _open(db, "bank", "alice")
    for _ in range(10):
        await _post(db, *(_transfer(bank, alice, 1, meta={"text": "x" * 500}) for _ in range(2000)))
    settings = HttpSettings(open=True, max_streams=1)
    with live(database.app_url, settings) as base:
        async with httpx.AsyncClient(base_url=base, timeout=30) as client:
            # The reader takes the head and then leaves; more is being written than a socket holds.
            async with client.stream("GET", "/v1/accounts/alice/statement", params={**EVER, "format": "camt053"}) as answer:
                assert answer.status_code == 200
                await anext(answer.aiter_bytes(100))
                second = await client.get("/v1/accounts/alice/statement", params={**EVER, "format": "csv"})
                assert (second.status_code, code_of(second)) == (503, "too_many_streams")
                assert (await client.get("/v1/accounts/alice/statement", params=EVER)).status_code == 200
            async with asyncio.timeout(30):
                while (
                    again := await client.get("/v1/accounts/alice/statement", params={**EVER, "format": "csv"})
                ).status_code == 503:
                    await asyncio.sleep(0.05)
    assert again.status_code == 200
    assert again.text.count("\r\n") == 20_003


async def _given_a_place(client: httpx.AsyncClient) -> httpx.Response | None:
    answer = await client.get("/v1/accounts/alice/statement", params={**EVER, "format": "csv"})
    return answer if answer.status_code == 200 else None


# CSV

ODD_TEXTS = ["=1", "+1", "-1", "@x", "\t", "'=1", "''+", "'a", " =1", "\uff1d1", 'a"b', "a\r\nb"]
csv_text = st.text(st.characters(codec="utf-8", min_codepoint=1), max_size=60)
csv_lines = st.lists(
    st.tuples(
        st.integers(-(10**15), 10**15).filter(bool),
        st.none() | csv_text | st.sampled_from(ODD_TEXTS),
    ),
    max_size=8,
)


@given(lines=csv_lines, opening=st.integers(-(10**12), 10**12), scale=st.sampled_from([0, 2, 3]))
@settings(max_examples=150, deadline=None)
def test_csv_is_read_back_equal_and_holds_no_formula(lines: list[tuple[int, str | None]], opening: int, scale: int) -> None:
    entries = [
        ledger.PastEntry(
            seq=number, journal_id=number, kind="t", amount=amount, effective_at=DAY, posted_at=DAY, reverses=None, text=text,
            end_to_end_id=None,
        )
        for number, (amount, text) in enumerate(lines, 1)
    ]  # fmt: skip
    written = asyncio.run(_csv_of(entries, opening, scale))
    file = statements.read_csv(written, account="A", currency="XTS", scale=scale)
    assert [line.amount for line in file.lines] == [amount for amount, _ in lines]
    assert [line.text for line in file.lines] == [text if text and text.strip() else None for _, text in lines]
    assert (file.opening, file.difference) == (opening, 0)
    for row in csv.DictReader(io.StringIO(written.decode(), newline="")):
        assert not row["text"].lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


async def _csv_of(entries: list[ledger.PastEntry], opening: int, scale: int) -> bytes:
    account = ledger.AccountRef(1, "A", "XTS", scale, "customer")
    debits, credits = [-e.amount for e in entries if e.amount < 0], [e.amount for e in entries if e.amount > 0]
    before = ledger.BalanceAt(0, max(-opening, 0), max(opening, 0))
    after = ledger.BalanceAt(len(entries), before.dr + sum(debits), before.cr + sum(credits))
    span = ledger.Span(1, DAY, DAY + timedelta(days=1), "posted", len(entries), before, after)
    totals = ledger.Totals(len(debits), sum(debits), len(credits), sum(credits))
    head = statements.Statement(account, span, totals, DAY)

    async def given_entries() -> AsyncIterator[ledger.PastEntry]:
        for entry in entries:
            yield entry

    lines = statements.model.running(head, given_entries())
    return b"".join([chunk async for chunk in statements.csv_chunks(head, lines)])


def _csv(text: str) -> statements.StatementFile:
    return statements.read_csv(text.encode(), account="A", currency="CZK", scale=2)


def test_csv_of_another_bank_needs_an_amount_and_takes_the_rest_as_it_comes() -> None:
    file = _csv('\ufeffvalued_on;amount;whatever;text\r\n2026-11-21;-1.5;?;"two\nlines"\r\n;+2;;\r\n')
    assert (file.account, file.opening, file.closing, file.difference) == ("A", None, None, None)
    assert [(line.number, line.amount, line.text, line.reference) for line in file.lines] == [
        (1, -150, "two\nlines", None),
        (2, 200, None, None),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: no column is called amount"),
        ("a,b\n1,2\n", "line 1: no column is called amount"),
        ("amount,amount\n1,2\n", "line 1: the column amount is there twice"),
        ("amount,text\n1\n", "line 2: a row has another number"),
        ("amount,text\n1,a,b\n", "line 2: a row has another number"),
        ("amount,text\n1,a\n\n1.234,b\n", "line 4: an amount has more than 2 decimals"),
        ('amount\n"1\n', "line 2: this is no CSV"),
        ("amount\n1e5\n", "line 2: an amount is not a plain"),
        ("amount\n=1\n", "line 2: an amount is not a plain"),
        ("amount\n\u0661\n", "line 2: an amount is not a plain"),
        ("amount,booked_on\n1,21.11.2026\n", "line 2: a date is not a day"),
        ("amount,row\n1,entry\n1,sum\n", "line 3: row is none of"),
        ("amount,row,balance\n,opening,1\n,opening,2\n", "line 3: row is none of"),
        ("amount,reference\n1," + "x" * 3000 + "\n", "line 2: a reference has more"),
        ("amount,text\n1," + "x" * 140_000 + "\n", "line 2: this is no CSV"),
        ("amount,text\n1,a\x00\n", "line 2: a text may not hold U+0000"),
    ],
)
def test_csv_that_cannot_be_read_is_refused_with_its_line(text: str, says: str) -> None:
    with pytest.raises(Invalid) as caught:
        _csv(text)
    assert caught.value.code == "statement_malformed"
    assert caught.value.detail.startswith(says)


def test_csv_that_is_no_utf8_or_of_another_currency_is_refused_with_its_line() -> None:
    with pytest.raises(Invalid, match="statement_malformed: line 2: this is not UTF-8"):
        statements.read_csv(b"amount,text\n1,\xff\n", account="A", currency="CZK", scale=2)
    with pytest.raises(Invalid, match="currency_mismatch: line 2"):
        _csv("amount,currency\n1,EUR\n")


async def test_the_whole_of_a_statement_as_one_json_document(db: Database) -> None:
    bank, alice = await _open(db, "bank", "alice")
    await _post(db, *(_transfer(bank, alice, 1) for _ in range(700)))
    async with ledger.report(db) as tx:
        head = await statements.statement(
            tx, await _ref(tx, "alice"), start=datetime(2000, 1, 1, tzinfo=UTC), end=datetime(2100, 1, 1, tzinfo=UTC)
        )
        chunks = [chunk async for chunk in statements.json_chunks(head, statements.lines(tx, head))]
    whole = json.loads(b"".join(chunks))
    assert len(chunks) > 1
    assert len(whole["items"]) == 700
    assert whole["statement"]["closing"] == whole["items"][-1]["balance"] == "7.00"


async def test_camt053_by_http_is_well_formed_and_names_the_message(db: Database) -> None:
    await _open(db, "bank")
    async with serving(db) as client:
        answer = await _file(client, "bank", "camt053")
    assert answer.headers["content-type"] == "application/xml"
    assert ElementTree.fromstring(answer.content).tag == "{urn:iso:std:iso:20022:tech:xsd:camt.053.001.08}Document"


# The commands


async def _command(database: TestDatabase, *arguments: str) -> tuple[int, str, str]:
    done = await asyncio.to_thread(command, database, *arguments)
    return done.exit_code, done.stdout, done.stderr


async def test_the_commands_write_a_statement_and_the_trial_balance(
    db: Database, database: TestDatabase, tmp_path: Path
) -> None:
    bank, alice = await _open(db, "bank", "alice")
    await _post(db, _transfer(bank, alice, 1250), _transfer(alice, bank, 250))
    period = ("--from", "2000-01-01", "--to", "2100-01-01")
    status, out, err = await _command(database, "statement", "alice", *period)
    assert (status, json.loads(out)["statement"]["closing"]) == (0, "10.00"), err
    status, out, err = await _command(database, "statement", "alice", *period, "--format", "csv", "--by", "effective")
    assert statements.read_csv(out.encode(), account="a", currency="CZK", scale=2).closing == 1000
    file = tmp_path / "alice.xml"
    status, out, err = await _command(database, "statement", "alice", *period, "--format", "camt053", "--output", str(file))
    assert (status, out, "2 entries" in err) == (0, "", True), err
    (read,) = statements.read_camt053(file.read_bytes(), scale_of={"CZK": 2}.__getitem__)
    assert (read.closing, read.difference) == (1000, 0)
    status, out, err = await _command(database, "trial-balance", "--at", "2100-01-01")
    assert (status, "15.00" in out) == (0, True), err


async def test_amounts_of_a_trial_balance_are_whole_however_narrow_the_terminal_is(
    db: Database, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, alice = await _open(db, "bank", "alice")
    amount = 999_000_000_000_000
    await _post(db, _transfer(bank, alice, amount))
    monkeypatch.setattr(console, "width", 40)
    status, out, err = await _command(database, "trial-balance")
    (row,) = [line for line in out.splitlines() if "CZK" in line]
    assert (status, row.count("9990000000000.00")) == (0, 4), err
    status, out, err = await _command(database, "trial-balance", "--json")
    whole = "9990000000000.00"
    assert json.loads(out) == {
        "currency": "CZK", "accounts": 2, "debits": whole, "credits": whole, "debit_balances": whole,
        "credit_balances": whole, "difference": "0.00",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("statement", "nobody", "--from", "2026-01-01", "--to", "2026-02-01"), "unknown_account"),
        (("statement", "bank", "--from", "2026-02-01", "--to", "2026-01-01"), "period_malformed"),
        (("statement", "bank", "--from", "soon", "--to", "2026-01-01"), "time_malformed"),
        (("statement", "bank", "--from", "2026-01-01", "--to", "2026-02-01", "--output", "/nowhere/x"), "file_not_written"),
        (("trial-balance", "--at", "never"), "time_malformed"),
    ],
)
async def test_a_command_that_is_refused_is_one_line(
    db: Database, database: TestDatabase, arguments: tuple[str, ...], code: str
) -> None:
    await _open(db, "bank")
    status, out, err = await _command(database, *arguments)
    assert (status, out, code in err) == (1, "", True), err
