"""The bank's day over HTTP and at the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tallystick import closing, ledger
from tallystick.cli.calendars import generated, read_holidays
from tallystick.db import Database
from tallystick.kit import Invalid
from tests import command_line
from tests.conftest import TestDatabase
from tests.serving import body_of, code_of, fund, serving

CALENDAR = {
    "name": "CZ",
    "valid_from": "2024-01-01",
    "valid_until": "2024-12-31",
    "time_zone": "Europe/Prague",
    "cut_off": "17:00",
    "weekend": ["saturday", "sunday"],
    "holidays": [{"date": "2024-03-29", "name": "Good Friday"}, {"date": "2024-04-01", "name": "Easter Monday"}],
}
RATE = {"rate": "0.365", "day_count": "ACT/365", "from_date": "2024-01-01", "paid_from": "BANK"}


async def _pay(db: Database, amount: int, at: datetime) -> None:
    async with db.write() as tx:
        accounts = await ledger.resolve(tx, ["BANK", "ALICE"])
        entries = ledger.transfer(debit=accounts["BANK"].id, credit=accounts["ALICE"].id, amount=amount)
        (answer,) = await ledger.post(tx, [ledger.Journal("t", entries, "me", effective_at=at)])
    assert answer.refusal is None


async def test_a_calendar_a_rate_and_two_days_over_http(db: Database) -> None:
    await fund(db)
    await _pay(db, 100_000, datetime(2024, 3, 1, 12, tzinfo=UTC))
    async with serving(db, keyed=True) as client:
        made = await client.post("/v1/calendars", json=CALENDAR)
        assert (made.status_code, body_of(made) | CALENDAR) == (201, body_of(made))
        assert body_of(await client.get("/v1/calendars")) == {"items": [body_of(made)], "next_cursor": None}

        rate = await client.post("/v1/accounts/ALICE/interest-rates", json=RATE)
        assert (rate.status_code, body_of(rate) | RATE) == (201, body_of(rate))
        assert body_of(rate)["account_id"] == "ALICE"

        friday = await client.post("/v1/business-days/2024-03-01/close", json={"calendar": "CZ"})
        assert friday.status_code == 200, friday.text
        answer = body_of(friday)
        assert (answer["status"], answer["business_date"], answer["previous_date"]) == ("closed", "2024-03-01", None)
        assert (answer["cut_off_at"], answer["accounts_moved"]) == ("2024-03-01T16:00:00Z", 2)
        again = await client.post("/v1/business-days/2024-03-01/close", json={"calendar": "CZ"})
        assert body_of(again) == answer

        monday = await client.post("/v1/business-days/2024-03-04/close", json={"calendar": "CZ"})
        listed = body_of(await client.get("/v1/business-days"))
        assert listed == {"items": [body_of(monday), answer], "next_cursor": None}
        first = body_of(await client.get("/v1/business-days?limit=1"))
        second = body_of(await client.get(f"/v1/business-days?limit=1&cursor={first['next_cursor']}"))
        assert first["items"] + second["items"] == listed["items"]

        balances = body_of(await client.get("/v1/accounts/ALICE/closing-balances"))
        # 1,000.00 at 36.5 % is 1.00 a day.
        assert balances["items"] == [
            {"business_date": "2024-03-04", "balance": {"amount": "1003.00", "currency": "CZK"}, "entries": 2},
            {"business_date": "2024-03-01", "balance": {"amount": "1000.00", "currency": "CZK"}, "entries": 1},
        ]
        page = body_of(await client.get("/v1/accounts/ALICE/closing-balances?limit=1"))
        rest = body_of(await client.get(f"/v1/accounts/ALICE/closing-balances?limit=1&cursor={page['next_cursor']}"))
        assert (page["items"] + rest["items"], rest["next_cursor"]) == (balances["items"], None)
        sunday = body_of(await client.get("/v1/accounts/ALICE/closing-balances?until=2024-03-03&limit=1"))
        assert sunday["items"] == balances["items"][1:]
        assert body_of(await client.get("/v1/accounts/BOB/closing-balances"))["items"] == []


async def test_a_key_stands_for_one_request_and_answers_it_again(db: Database) -> None:
    await fund(db)
    async with serving(db, keyed=True) as client:
        for path, body, other in (
            ("/v1/calendars", CALENDAR, CALENDAR | {"cut_off": "18:00"}),
            ("/v1/accounts/ALICE/interest-rates", RATE, RATE | {"rate": "0.1"}),
            ("/v1/business-days/2024-03-01/close", {"calendar": "CZ"}, {"calendar": "DE"}),
        ):
            headers = {"idempotency-key": f"key of {path}".replace(" ", "-")}
            first = await client.post(path, json=body, headers=headers)
            assert first.status_code in (200, 201), first.text
            assert body_of(await client.post(path, json=body, headers=headers)) == body_of(first)
            assert code_of(await client.post(path, json=other, headers=headers)) == "key_reused"
    async with db.read() as tx:
        assert len(await closing.calendars(tx)) == 1


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/business-days/2024-03-02/close", {"calendar": "CZ"}, 422, "not_a_business_day"),
        ("/v1/business-days/2025-03-03/close", {"calendar": "CZ"}, 422, "calendar_ends"),
        ("/v1/business-days/2024-03-01/close", {"calendar": "DE"}, 404, "unknown_calendar"),
        ("/v1/business-days/2024-02-30/close", {"calendar": "CZ"}, 422, "validation_failed"),
        ("/v1/business-days/20240301/close", {"calendar": "CZ"}, 422, "validation_failed"),
        ("/v1/calendars", CALENDAR | {"time_zone": "Europe/Atlantis"}, 422, "unknown_time_zone"),
        ("/v1/calendars", CALENDAR | {"cut_off": "24:30"}, 422, "cut_off_malformed"),
        ("/v1/calendars", CALENDAR | {"cut_off": "5pm"}, 422, "validation_failed"),
        ("/v1/calendars", CALENDAR | {"weekend": ["someday"]}, 422, "validation_failed"),
        ("/v1/calendars", CALENDAR | {"valid_until": "2023-12-31"}, 422, "calendar_malformed"),
        ("/v1/calendars", CALENDAR | {"holidays": [{"date": "2024-03-29", "name": "a"}] * 2}, 422, "calendar_malformed"),
        ("/v1/accounts/NOBODY/interest-rates", RATE, 404, "unknown_account"),
        ("/v1/accounts/EURO/interest-rates", RATE, 422, "currency_mismatch"),
        ("/v1/accounts/ALICE/interest-rates", RATE | {"paid_from": "BOB"}, 422, "account_not_internal"),
        ("/v1/accounts/ALICE/interest-rates", RATE | {"rate": "11"}, 422, "rate_malformed"),
        ("/v1/accounts/ALICE/interest-rates", RATE | {"rate": "0.0000000000001"}, 422, "validation_failed"),
        ("/v1/accounts/ALICE/interest-rates", RATE | {"rate": "1e-3"}, 422, "validation_failed"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_its_code(
    db: Database, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    await fund(db)
    async with serving(db, keyed=True) as client:
        assert (await client.post("/v1/calendars", json=CALENDAR)).status_code == 201
        response = await client.post(path, json=body)
    assert (response.status_code, code_of(response)) == (status, code)


async def test_a_day_is_not_closed_without_a_key_as_that_moves_money(db: Database) -> None:
    async with serving(db) as client:
        assert (await client.post("/v1/calendars", json=CALENDAR)).status_code == 201
        response = await client.post("/v1/business-days/2024-03-01/close", json={"calendar": "CZ"})
        assert (response.status_code, code_of(response)) == (400, "idempotency_key_required")
        assert body_of(await client.get("/v1/business-days"))["items"] == []


async def test_a_cursor_of_another_account_or_of_no_day_is_refused(db: Database) -> None:
    await fund(db)
    async with serving(db, keyed=True) as client:
        for cursor in ("WzEsImNsb3NpbmcgYmFsYW5jZXMgQUxJQ0UiLDBd", "WzEsImNsb3NpbmcgYmFsYW5jZXMgQUxJQ0UiLDk5OTk5OTk5OTld"):
            response = await client.get(f"/v1/accounts/ALICE/closing-balances?cursor={cursor}")
            assert code_of(response) == "cursor_malformed"


def test_holidays_of_countries_and_of_target_are_known() -> None:
    czech = generated(country="CZ", years=range(2024, 2026))
    assert {date(2024, 3, 29), date(2024, 12, 24), date(2025, 10, 28)} <= set(czech)
    # Closed on New Year's Day, Good Friday, Easter Monday, 1 May, and both days of Christmas.
    target = generated(market="ECB", years=range(2026, 2027))
    assert sorted(target) == [date(2026, *day) for day in ((1, 1), (4, 3), (4, 6), (5, 1), (12, 25), (12, 26))]


def test_unknown_countries_markets_and_years_are_refused() -> None:
    for country, market, years, code in (
        ("QQ", None, range(2026, 2027), "unknown_country"),
        ("", None, range(2026, 2027), "unknown_country"),
        (None, "QQ", range(2026, 2027), "unknown_market"),
        ("CZ", None, range(1901, 1903), "calendar_malformed"),
    ):
        with pytest.raises(Invalid, match=code):
            generated(country=country, market=market, years=years)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"day,name\n2026-01-01,New Year\n",
        b"date,name\n2026-01-01\n",
        b"date,name\n2026-01-01,New,Year\n",
        b"date,name\n2026-01-01, \n",
        b"date,name\n2026-13-01,New Year\n",
        b"date,name\n1.1.2026,New Year\n",
        b"date,name\n2026-01-01,a\n2026-01-01,b\n",
        b"date,name\n2026-01-01,\xff\n",
        b'date,name\n2026-01-01,"New Year\n',
        b"date,name\n" + b"2026-01-01,a\n" * 100_000,
    ],
    ids=lambda content: str(content[:40]),
)
def test_a_malformed_file_of_holidays_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "holidays.csv"
    file.write_bytes(content)
    with pytest.raises(Invalid, match=r"(file|date)_malformed"):
        read_holidays(file)
    with pytest.raises(Invalid, match="file_malformed"):
        read_holidays(tmp_path)


def test_a_file_of_holidays_is_read_with_quotes_and_line_ends_of_any_kind(tmp_path: Path) -> None:
    file = tmp_path / "holidays.csv"
    file.write_bytes('\ufeffdate,name\r\n2026-05-01,"May Day, a holiday"\r\n\r\n2026-01-01,Nový rok\r\n'.encode())
    assert read_holidays(file) == {date(2026, 5, 1): "May Day, a holiday", date(2026, 1, 1): "Nový rok"}


Command = Callable[..., Result]


@pytest.fixture
def command(database: TestDatabase) -> Command:
    return lambda *arguments: command_line.command(database, *arguments)


def test_a_calendar_is_added_listed_and_shown_at_the_command_line(command: Command, tmp_path: Path) -> None:
    zone = ("--zone", "Europe/Prague")
    added = command("calendar", "add", "CZ", "--years", "2024-2025", "--country", "CZ", *zone, "--cut-off", "17:00")
    assert (added.exit_code, added.stdout) == (0, "calendar CZ from 2024-01-01 until 2025-12-31: 26 holidays\n"), added.stderr
    file = tmp_path / "holidays.csv"
    file.write_text("date,name\n2024-06-03,[bold]Anniversary\n")
    one = ("--years", "2024", "--from", "2024-06-01", "--holidays", str(file), *zone, "--cut-off", "24:00")
    assert command("calendar", "add", "CZ", *one).exit_code == 0
    assert "CZ" in command("calendar", "list").stdout
    shown = command("calendar", "show", "CZ", "--year", "2024").stdout
    assert "17:00" in shown
    assert "2024-06-03 [bold]Anniversary" in shown
    assert "2024-05-08" in shown
    # What was added last speaks for the days from June on.
    assert "2024-07-05" not in shown


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--years", "2024", "--cut-off", "17:00"), "calendar_malformed"),
        (("--years", "2024", "--cut-off", "17:00", "--country", "CZ", "--market", "ECB"), "calendar_malformed"),
        (("--years", "24", "--cut-off", "17:00", "--country", "CZ"), "calendar_malformed"),
        (("--years", "2025-2024", "--cut-off", "17:00", "--country", "CZ"), "calendar_malformed"),
        (("--years", "2024", "--cut-off", "5pm", "--country", "CZ"), "cut_off_malformed"),
        (("--years", "2024", "--cut-off", "17:00", "--country", "CZ", "--weekend", "someday"), "calendar_malformed"),
        (("--years", "2024", "--cut-off", "17:00", "--country", "CZ", "--from", "soon"), "date_malformed"),
        (("--years", "2024", "--cut-off", "17:00", "--country", "CZ", "--zone", "Europe/Atlantis"), "unknown_time_zone"),
    ],
)
def test_a_calendar_that_makes_no_sense_is_one_line_and_exit_status_1(
    command: Command, options: tuple[str, ...], code: str
) -> None:
    failed = command("calendar", "add", "CZ", "--zone", "Europe/Prague", *options)
    assert (failed.exit_code, f"[{code}]" in " ".join(failed.stderr.split())) == (1, True), failed.stderr


async def test_days_are_ended_one_after_the_other_at_the_command_line(db: Database, command: Command) -> None:
    async def ended(*arguments: str) -> Result:
        return await asyncio.to_thread(command, "end-of-day", *arguments)

    assert "[unknown_calendar]" in (await ended()).stderr
    await fund(db)
    async with db.write() as tx:
        first = closing.CalendarSpec("CZ", date(2024, 1, 1), date(2024, 3, 5), "Europe/Prague", 1020)
        await closing.add_calendar(tx, "me", first)
    await _pay(db, 100, datetime(2024, 3, 1, 12, tzinfo=UTC))
    friday = await ended("--date", "2024-03-01")
    assert friday.exit_code == 0, friday.stderr
    assert "accrue:interest accounts=0 journals=0 refused=0" in friday.stdout
    assert "close moved=2" in friday.stdout
    assert "2024-03-01 is closed by CZ, up to 2024-03-01T16:00:00+00:00" in " ".join(friday.stdout.split())
    assert "2024-03-04 is closed" in (await ended()).stdout
    assert "2024-03-05 is closed" in (await ended("--calendar", "CZ")).stdout
    for arguments, code in (
        ((), "calendar_ends"),
        (("--date", "2024-03-07"), "calendar_ends"),
        (("--date", "x"), "date_malformed"),
    ):
        failed = await ended(*arguments)
        assert (failed.exit_code, f"[{code}]" in " ".join(failed.stderr.split())) == (1, True), failed.stderr
    async with db.write() as tx:
        day = datetime.now(UTC).date() + timedelta(days=2)
        await closing.add_calendar(tx, "me", closing.CalendarSpec("CZ", date(2024, 3, 6), day, "Europe/Prague", 1020, ()))
    assert "2024-03-06 is closed" in (await ended()).stdout
