"""Schedules at the command line: added, seen, paused, resumed and removed by a named operator."""

from __future__ import annotations

import json

import psycopg
import pytest
from typer.testing import CliRunner, Result

from tallystick.cli.main import app
from tests.conftest import TestDatabase


@pytest.fixture
def cli(database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("DATABASE_URL", database.app_url)
    monkeypatch.setenv("TALLYSTICK_OWNER_URL", database.owner_url)
    return CliRunner()


def run(cli: CliRunner, *arguments: str, stdin: str | None = None) -> Result:
    # The command runs a loop of its own, so it is called where none runs: the tests of this file are not async.
    return cli.invoke(app, ("schedules", *arguments), input=stdin)


def add(cli: CliRunner, *options: str, name: str = "nightly", cron: str = "30 2 * * *") -> Result:
    return run(cli, "add", name, cron, "reporter", "report", *options, "--as", "anna")


def test_a_schedule_is_added_and_shown_with_its_next_times(cli: CliRunner) -> None:
    added = add(
        cli, '{"limit": 0.50}', "--zone", "Europe/Prague", "--catch-up", "all", "--priority", "-3", "--fire-at-field", "for"
    )
    assert (added.exit_code, len(added.stdout.splitlines())) == (0, 5), added.output
    (told,) = map(json.loads, run(cli, "show", "nightly").stdout.splitlines())
    assert [time[:16].replace("T", " ") for time in told["upcoming"]] == [line[:16] for line in added.stdout.splitlines()]
    said = ("agent", "type", "payload", "cron", "time_zone", "catch_up", "priority", "fire_at_field", "state", "created_by")
    assert [told[name] for name in said] == [
        "reporter", "report", {"limit": 0.5}, "30 2 * * *", "Europe/Prague", "all", -3, "for", "active", "cli:anna",
    ]  # fmt: skip
    assert told["firings"] == []
    assert add(cli).exit_code == 1
    assert "[schedule_exists]" in add(cli).stderr


def test_a_payload_is_read_from_standard_input(cli: CliRunner) -> None:
    assert run(cli, "add", "s", "* * * * *", "a", "t", "-", stdin='{"x": [1]}').exit_code == 0
    assert json.loads(run(cli, "show", "s").stdout)["payload"] == {"x": [1]}


def test_schedules_are_listed_by_agent_and_state(cli: CliRunner) -> None:
    for name in ("one", "two"):
        assert add(cli, name=name).exit_code == 0
    assert run(cli, "pause", "two", "--as", "boris").stdout == "the schedule two is paused\n"
    head, second, first = run(cli, "list").stdout.splitlines()
    assert head.split()[:3] == ["NAME", "STATE", "CRON"]
    assert (first.split()[0], second.split()[0], second.endswith("paused by cli:boris")) == ("one", "two", True)
    assert [json.loads(line)["name"] for line in run(cli, "list", "--json", "--state", "active").stdout.splitlines()] == ["one"]
    assert run(cli, "list", "--json", "--agent", "nobody").stdout == ""


def test_a_schedule_is_paused_resumed_and_removed_on_the_record(cli: CliRunner, database: TestDatabase) -> None:
    add(cli)
    assert run(cli, "pause", "nightly", "--as", "anna").exit_code == 0
    assert "goes on; its next time is 2" in run(cli, "resume", "nightly", "--as", "boris").stdout
    assert run(cli, "remove", "nightly", "--as", "clara").stdout == "the schedule nightly is removed\n"
    gone = run(cli, "show", "nightly")
    assert (gone.exit_code, "[unknown_schedule]" in gone.stderr) == (1, True)
    with psycopg.connect(database.owner_url) as connection:
        events = connection.execute(
            "select verb, principal from audit.event where subject_kind = 'schedule' order by id"
        ).fetchall()
    assert events == [
        ("schedules.create", "cli:anna"), ("schedules.pause", "cli:anna"), ("schedules.resume", "cli:boris"),
        ("schedules.remove", "cli:clara"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("s", "0 0 30 2 *", "a", "t"), "cron_never_fires"), (("s", "nonsense", "a", "t"), "cron_malformed"),
        (("s", "* * * * *", "a", "t", "[]"), "payload_malformed"), (("s", "* * * * *", "a", "t", "{"), "json_malformed"),
        (("s", "* * * * *", "a", "t", "--zone", "Mars"), "unknown_time_zone"),
        (("s", "* * * * *", "settlement-agent", "t"), "reserved_agent"), (("a b", "* * * * *", "a", "t"), "name_malformed"),
        (("s", "* * * * *", "a", "t", '{"x": "' + "y" * 65_536 + '"}'), "payload_too_large"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line_and_exit_status_1(cli: CliRunner, arguments: tuple[str, ...], code: str) -> None:
    refused = run(cli, "add", *arguments)
    assert refused.exit_code == 1
    assert refused.stderr.strip().endswith(f"[{code}]")
    assert run(cli, "list", "--json").stdout == ""


def test_standing_orders_are_paid_by_a_schedule_and_transfers_are_settled_by_none(cli: CliRunner) -> None:
    made = run(
        cli, "add", "orders", "30 2 * * *", "standing-orders", "pay_due", '{"time_zone": "Europe/Prague"}', "--as", "anna"
    )
    assert made.exit_code == 0, made.output
    refused = run(cli, "add", "settle", "30 2 * * *", "settlement-agent", "settle_transfer", "--as", "anna")
    assert (refused.exit_code, "[reserved_agent]" in refused.stderr) == (1, True)
