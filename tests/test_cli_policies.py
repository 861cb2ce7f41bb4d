"""`tallystick policy` and `tallystick lists`: from the file to being in force, and what exit status says of it."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from tallystick import policy
from tallystick.cli.runtime import console
from tallystick.db import Database
from tests.command_line import command
from tests.conftest import ROOT, TestDatabase
from tests.permitted import without_policy

CASES = ROOT / "tests/policy_cases.yaml"
HOUSE = "name: house\nrules:\n  - {id: all, allow: yes}\n  - {id: small, amount: {at_most: {EUR: 10}}}\n"


@pytest.fixture
def house(tmp_path: Path) -> Path:
    file = tmp_path / "house.yaml"
    file.write_text(HOUSE)
    return file


def test_a_file_is_checked_and_every_problem_is_told(database: TestDatabase, house: Path) -> None:
    assert "rules=2" in command(database, "policy", "check", str(house)).stdout
    house.write_text("name: house\nrules:\n  - {id: a}\n  - {id: a, amount: {at_most: 3}}\n")
    wrong = command(database, "policy", "check", str(house))
    assert wrong.exit_code == 1
    for place in ("house.yaml: rules[0]: ", "house.yaml: rules[1].id: ", "house.yaml: rules[1].amount.at_most: ", "3 problems"):
        assert place in wrong.stderr
    gone = command(database, "policy", "check", str(house.with_name("gone.yaml")))
    assert (gone.exit_code, "[file_unreadable]" in gone.stderr) == (1, True)


def test_a_policy_is_applied_compared_and_shown(database: TestDatabase, house: Path) -> None:
    applied = command(database, "policy", "apply", str(house), "--as", "anna")
    assert (applied.exit_code, "policy=house" in applied.stdout) == (0, True), applied.output
    same = command(database, "policy", "diff", str(house))
    assert (same.exit_code, "0 differences" in same.stdout) == (0, True)
    house.write_text(HOUSE.replace("10", "20"))
    other = command(database, "policy", "diff", str(house))
    assert (other.exit_code, '~ small.amount: {"at_most":{"EUR":10}} -> {"at_most":{"EUR":20}}' in other.stdout) == (1, True)
    shown = command(database, "policy", "show")
    assert "applied by cli:anna" in shown.stdout
    assert "coming" not in shown.stdout
    digest = shown.stdout.split("digest=")[1].split()[0]
    assert '"name":"house"' in command(database, "policy", "show", digest[:10], "--json").stdout
    assert command(database, "policy", "show", "f" * 64).exit_code == 1


def test_what_is_in_force_is_told_with_its_own_time_and_what_is_coming_apart(
    database: TestDatabase, house: Path, tmp_path: Path
) -> None:
    applied = command(database, "policy", "apply", str(house), "--as", "anna").stdout
    since = applied.split("effective_from=")[1].strip().replace("T", " ")
    command(database, "policy", "apply", str(house), "--as", "jan")
    command(database, "policy", "apply", str(house), "--as", "jan", "--effective-from", "2099-01-01")
    other = tmp_path / "other.yaml"
    other.write_text(HOUSE.replace("house", "other"))
    command(database, "policy", "apply", str(other), "--as", "eva", "--effective-from", "2098-01-01")
    now = command(database, "policy", "show").stdout
    assert f"in force since {since}, applied by cli:anna" in now
    assert [line.split(" digest")[0] for line in now.splitlines() if line.startswith("coming")] == [
        "coming on 2098-01-01 00:00:00+00:00: policy=other", "coming on 2099-01-01 00:00:00+00:00: policy=house",
    ]  # fmt: skip
    digest = now.split("coming on 2098")[1].split("digest=")[1].split()[0]
    later = command(database, "policy", "show", digest).stdout
    assert "not in force, but from 2098-01-01 00:00:00+00:00 on, applied by cli:eva" in later
    assert "coming" not in later
    command(database, "policy", "apply", "demo", "--as", "anna")
    digest = applied.split("digest=")[1].split()[0]
    assert "in force since" not in command(database, "policy", "show", digest).stdout


async def test_differences_are_told_whole_and_all_of_them(
    db: Database, database: TestDatabase, house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "a-rule-with-a-name-that-is-as-long-as-names-of-rules-may-be-or-nearly-so"
    async with db.write() as tx:
        applied = await policy.apply(tx, {"name": "t", "rules": [{"id": "all", "allow": True}]}, by="t")
        rules = policy.parse({"name": "t", "rules": [{"id": "all", "allow": True}]})
        facts = {"action": "transfer", "principal": "an-agent-with-a-long-name-of-its-own", "asset": "EUR", "amount": 5}
        verdict = policy.evaluate(rules, facts)
        new = policy.NewDecision(
            str(facts["principal"]),
            None,
            "transfer",
            bytes(32),
            applied.digest,
            policy.facts_text(facts),
            verdict.text,
            "allow",
        )
        await policy.keep(tx, [new] * 203)
    house.write_text(f"name: house\nrules:\n  - {{id: {long}, deny: yes}}\n")
    monkeypatch.setattr(console, "width", 80)
    asked = ("policy", "replay", "--candidate", str(house))
    shown = await asyncio.to_thread(command, database, *asked)
    assert "... and 3 more: --json tells all" in shown.stdout
    rows = [line for line in shown.stdout.splitlines() if long in line]
    assert (len(rows), all("an-agent-with-a-long-name-of-its-own" in row for row in rows)) == (200, True)
    told = await asyncio.to_thread(command, database, *asked, "--json")
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    assert (len(lines), {line["rules"][0] for line in lines}, {line["after"] for line in lines}) == (203, {long}, {"deny"})
    assert "decisions=203 differ=203" in told.stderr


def test_what_is_no_file_of_a_policy_is_refused_and_not_read_for_ever(
    database: TestDatabase, house: Path, tmp_path: Path
) -> None:
    fifo, large = tmp_path / "fifo", tmp_path / "large.yaml"
    os.mkfifo(fifo)
    with large.open("wb") as file:
        file.truncate(10 * 2**40)
    for file_, code in ((Path("/dev/zero"), "file_unreadable"), (fifo, "file_unreadable"), (large, "file_too_large")):
        for asked in (("check", str(file_)), ("diff", str(file_), str(house)), ("test", str(house), str(file_))):
            refused = command(database, "policy", *asked)
            assert (refused.exit_code, f"[{code}]" in refused.stderr) == (1, True), refused.output


def test_one_problem_is_one_problem_and_says_where_it_is_in_good_words(database: TestDatabase, house: Path) -> None:
    house.write_text("name: house\nrules:\n  - {id: a}\n")
    assert command(database, "policy", "check", str(house)).stderr.endswith("\n1 problem\n")
    house.write_text('{"name": "house')
    told = command(database, "policy", "check", str(house)).stderr
    assert "Unterminated string starting at character 9" in told


def test_cases_are_tried_and_a_difference_is_exit_status_1(database: TestDatabase, house: Path, tmp_path: Path) -> None:
    tried = command(database, "policy", "test", "default", str(CASES))
    assert (tried.exit_code, " 0 differ" in tried.stdout) == (0, True), tried.output
    cases = tmp_path / "cases.yaml"
    cases.write_text("facts: {asset: EUR}\ncases:\n  - {name: ten, facts: {amount: '10'}, outcome: deny}\n")
    wrong = command(database, "policy", "test", str(house), str(cases))
    assert (wrong.exit_code, "DIFFERS" in wrong.stdout) == (1, True)


def test_replay_without_decisions_finds_nothing(database: TestDatabase, house: Path) -> None:
    for more in ((), ("--candidate", str(house)), ("--since", "2026-01-01")):
        replayed = command(database, "policy", "replay", *more)
        assert (replayed.exit_code, "decisions=0 differ=0" in replayed.stdout) == (0, True)


def test_lists_are_imported_and_searched(database: TestDatabase, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("id,name\n36,José García\n")
    told = command(database, "lists", "import", "sanctions", str(file), "--as", "anna")
    assert (told.exit_code, "list=sanctions kind=names entries=1" in told.stdout) == (0, True), told.output
    assert "36" in command(database, "lists", "find", "GARCIA jose").stdout
    assert command(database, "lists", "find", "nobody").exit_code == 1
    assert "José García" in command(database, "lists", "show", "sanctions").stdout
    assert "cli:anna" in command(database, "lists", "list").stdout
    assert "[unknown_list]" in command(database, "lists", "show", "nothing").stderr
    assert "[unknown_format]" in command(database, "lists", "import", "x", str(file), "--format", "pdf").stderr


def test_a_list_is_not_emptied_by_mistake_and_rows_that_are_dropped_are_counted(database: TestDatabase, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("id,name\n1,Carl\n2,---\n3,\n4,Eva\n")
    told = command(database, "lists", "import", "sanctions", str(file), "--as", "anna")
    assert (told.exit_code, "entries=2" in told.stdout, "dropped=2" in told.stdout) == (0, True, True), told.output
    for nothing in ("id,name\n", "id,name\n1,---\n"):
        file.write_text(nothing)
        refused = command(database, "lists", "import", "sanctions", str(file), "--as", "anna")
        assert (refused.exit_code, "[list_would_be_empty]" in refused.stderr) == (1, True), refused.output
    assert "Carl" in command(database, "lists", "show", "sanctions").stdout
    emptied = command(database, "lists", "import", "sanctions", str(file), "--as", "anna", "--allow-empty")
    assert (emptied.exit_code, "entries=0" in emptied.stdout, "dropped=1" in emptied.stdout) == (0, True, True), emptied.output


def test_migrate_puts_the_default_in_force_once(database: TestDatabase, house: Path) -> None:
    without_policy(database.owner_url)
    assert "the default policy is in force" in command(database, "migrate").stdout
    assert "the default policy is in force" not in command(database, "migrate").stdout
    assert "policy=default" in command(database, "policy", "show").stdout
