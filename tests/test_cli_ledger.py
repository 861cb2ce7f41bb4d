"""The books at the command line: a file of journals posted once, holds, limits, periods, each by a named operator."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tallystick import audit, identity, ledger
from tallystick.cli.main import app
from tallystick.db import Database
from tallystick.kit import Invalid
from tests.conftest import TestDatabase
from tests.serving import fund


@pytest.fixture
def cli(database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("DATABASE_URL", database.app_url)
    monkeypatch.setenv("TALLYSTICK_OWNER_URL", database.owner_url)
    return CliRunner()


def run(cli: CliRunner, *arguments: str, stdin: str | None = None) -> Result:
    # The command runs a loop of its own, so it is called where none runs: the tests of this file are not async.
    return cli.invoke(app, arguments, input=stdin)


def told(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def pay(debit: str, credit: str, amount: str = "1.00", **more: Any) -> str:
    entries = [{"account": debit, "amount": f"-{amount}"}, {"account": credit, "amount": amount}]
    return json.dumps({"kind": "test", "entries": entries} | more)


def funded(cli: CliRunner) -> None:
    for name, *options in (["BANK", "--internal"], ["ALICE"], ["BOB"]):
        assert run(cli, "account", "open", name, "CZK", *options).exit_code == 0
    lines = "\n".join(pay("BANK", name, "1000.00") for name in ("ALICE", "BOB"))
    assert run(cli, "post", "-", "--key-prefix", "opening", stdin=lines).exit_code == 0


def posted(cli: CliRunner, name: str) -> str:
    return str(told(run(cli, "account", "show", name))[0]["posted"])


def test_a_file_is_posted_once_however_often_it_is_run(cli: CliRunner, tmp_path: Path) -> None:
    funded(cli)
    file = tmp_path / "journals.jsonl"
    lines = [pay("ALICE", "BOB", "0.01", meta={"n": n}) for n in range(1500)]
    lines[700] = pay("ALICE", "BOB", "5000.00")
    lines[701] = "{not json"
    lines[702] = pay("ALICE", "nobody")
    lines[703] = json.dumps({"kind": "x"})
    file.write_text("\n".join([*lines, "", ""]), "utf-8")
    first = run(cli, "post", str(file), "--as", "anna")
    assert first.exit_code == 1
    assert "1496 posted, 0 of them earlier, 4 refused" in first.stderr
    answers = told(first)
    assert [one["line"] for one in answers] == list(range(1, 1501))
    assert [one["reason"] for one in answers if one["status"] == "refused"] == [
        "insufficient_funds", "json_malformed", "unknown_account", "validation_failed",
    ]  # fmt: skip
    assert posted(cli, "ALICE") == "985.04"
    again = run(cli, "post", str(file), "--as", "anna")
    assert "1496 posted, 1496 of them earlier, 4 refused" in again.stderr
    assert [(one["id"], one["reason"]) for one in told(again)] == [(one["id"], one["reason"]) for one in answers]
    assert posted(cli, "ALICE") == "985.04"


def test_atomic_is_all_or_nothing_and_a_rehearsal_changes_nothing(cli: CliRunner, tmp_path: Path) -> None:
    funded(cli)
    file = tmp_path / "journals.jsonl"
    file.write_text("\n".join([pay("ALICE", "BOB"), pay("ALICE", "BOB", "5000.00")]), "utf-8")
    rehearsed = run(cli, "post", str(file), "--dry-run")
    assert [(one["status"], one["id"]) for one in told(rehearsed)] == [("posted", None), ("refused", None)]
    assert "nothing was kept" in rehearsed.stderr
    atomic = run(cli, "post", str(file), "--atomic")
    assert (atomic.exit_code, [one["reason"] for one in told(atomic)]) == (1, ["batch_refused", "insufficient_funds"])
    file.write_text("\n".join([pay("ALICE", "BOB"), "{"]), "utf-8")
    broken = run(cli, "post", str(file), "--atomic")
    assert [one["reason"] for one in told(broken)] == ["batch_refused", "json_malformed"]
    file.write_text("\n".join([pay("ALICE", "BOB"), pay("ALICE", "BOB")]), "utf-8")
    good = run(cli, "post", str(file), "--atomic")
    assert (good.exit_code, posted(cli, "ALICE")) == (0, "998.00")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["post", "-"], "key_prefix_needed"),
        (["post", "-", "--key-prefix", "a b"], "key_malformed"),
        (["post", "/nowhere/at/all"], "file_unreadable"),
        (["reverse", "999"], "unknown_journal"),
        (["hold", "place", "nobody", "1"], "unknown_account"),
        (["hold", "place", "ALICE", "0.001"], "amount_too_fine"),
        (["hold", "capture", "999", "BOB", "1"], "unknown_hold"),
        (["reverse", str(2**63)], "unknown_journal"),
        (["hold", "capture", str(2**63), "BOB", "1"], "unknown_hold"),
        (["hold", "release", "9" * 30], "unknown_hold"),
        (["account", "show", "nobody"], "unknown_account"),
        (["account", "open", "ALICE", "CZK"], "account_exists"),
        (["account", "open", "NEW", "XXX"], "unknown_currency"),
        (["account", "close", "ALICE"], "account_not_empty"),
        (["account", "limit", "ALICE", "none"], "floor_needed"),
        (["account", "limit", "ALICE", "5", "--as", "a b"], "name_malformed"),
        (["period", "close", "--until", "2099-01-01"], "period_not_over"),
        (["period", "close", "--until", "soon"], "time_malformed"),
        (["period", "close", "--until", "2026-01-01T00:00:00"], "time_malformed"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_1(cli: CliRunner, arguments: list[str], code: str) -> None:
    funded(cli)
    result = run(cli, *arguments, stdin=pay("ALICE", "BOB"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"[{code}]" in result.stderr.replace("\n", "")


def test_a_hold_is_placed_captured_and_released(cli: CliRunner) -> None:
    funded(cli)
    (placed,) = told(run(cli, "hold", "place", "ALICE", "100.00", "--for", "3600", "--key", "h"))
    assert told(run(cli, "hold", "place", "ALICE", "100.00", "--for", "3600", "--key", "h")) == [placed | {"replayed": True}]
    reused = run(cli, "hold", "place", "ALICE", "99.00", "--key", "h")
    assert (reused.exit_code, "[key_reused]" in reused.stderr) == (1, True)
    rehearsed = run(cli, "hold", "capture", placed["id"], "BOB", "30.00", "--dry-run")
    assert (rehearsed.exit_code, told(rehearsed)[0]["id"]) == (0, None)
    assert told(run(cli, "hold", "capture", placed["id"], "BOB", "30.00"))[0]["status"] == "posted"
    much = run(cli, "hold", "capture", placed["id"], "BOB", "80.00")
    assert (much.exit_code, told(much)[0]["reason"]) == (1, "hold_exceeded")
    (listed,) = told(run(cli, "hold", "list", "--account", "ALICE"))
    assert (listed["captured"], listed["remaining"], listed["status"]) == ("30.00", "70.00", "open")
    assert told(run(cli, "hold", "release", placed["id"]))[0]["status"] == "released"
    assert told(run(cli, "hold", "list")) == []
    assert [one["status"] for one in told(run(cli, "hold", "list", "--all"))] == ["released"]
    assert posted(cli, "ALICE") == "970.00"


def test_a_journal_is_taken_back_in_parts(cli: CliRunner) -> None:
    funded(cli)
    (journal,) = told(run(cli, "post", "-", "--key-prefix", "p", stdin=pay("ALICE", "BOB", "10.00")))
    assert told(run(cli, "reverse", journal["id"], "--amount", "4.00", "--dry-run"))[0]["id"] is None
    assert told(run(cli, "reverse", journal["id"], "--amount", "4.00"))[0]["status"] == "posted"
    whole = run(cli, "reverse", journal["id"])
    assert (whole.exit_code, told(whole)[0]["reason"]) == (1, "reversal_exceeded")
    assert posted(cli, "ALICE") == "994.00"


def test_accounts_and_periods_change_under_the_operators_name(cli: CliRunner) -> None:
    funded(cli)
    assert told(run(cli, "account", "freeze", "ALICE", "--as", "anna"))[0]["status"] == "frozen"
    assert told(run(cli, "account", "unfreeze", "ALICE", "--as", "anna"))[0]["status"] == "open"
    assert told(run(cli, "account", "limit", "ALICE", "50.00", "--as", "anna"))[0]["overdraft_limit"] == "50.00"
    (shown,) = told(run(cli, "account", "show", "ALICE"))
    assert [(one["status"], one["actor"]) for one in shown["changes"][:3]] == [
        ("open", "cli:anna"), ("open", "cli:anna"), ("frozen", "cli:anna"),
    ]  # fmt: skip
    assert [one["id"] for one in told(run(cli, "account", "list", "--after", "BANK"))] == ["ALICE", "BOB"]
    (closed,) = told(run(cli, "period", "close", "--until", "2024-01-01", "--as", "anna"))
    assert told(run(cli, "period", "show")) == [closed]
    late = run(cli, "post", "-", "--key-prefix", "late", stdin=pay("ALICE", "BOB", effective_at="2023-12-31"))
    assert told(late)[0]["reason"] == "period_closed"


def test_of_a_file_that_was_edited_only_the_new_lines_are_posted(cli: CliRunner, tmp_path: Path) -> None:
    funded(cli)
    file = tmp_path / "journals.jsonl"
    lines = [pay("ALICE", "BOB"), pay("ALICE", "BOB"), pay("ALICE", "BOB", "2.00")]
    file.write_text("\n".join(lines), "utf-8")
    assert "3 posted, 0 of them earlier" in run(cli, "post", str(file)).stderr
    spaced = json.dumps(dict(reversed(json.loads(lines[2]).items())), indent=None, separators=(" , ", " : "))
    file.write_text("\n".join([pay("ALICE", "BOB", "4.00"), lines[0], spaced, "", lines[1], lines[0]]), "utf-8")
    again = run(cli, "post", str(file))
    assert [one["replayed"] for one in told(again)] == [False, True, True, True, False]
    assert posted(cli, "ALICE") == "991.00"


def test_a_file_of_all_or_none_can_be_mended(cli: CliRunner, tmp_path: Path) -> None:
    funded(cli)
    file = tmp_path / "journals.jsonl"
    file.write_text("\n".join([pay("ALICE", "BOB"), pay("ALICE", "BOB", "5000.00")]), "utf-8")
    assert run(cli, "post", str(file), "--atomic").exit_code == 1
    file.write_text("\n".join([pay("ALICE", "BOB"), pay("ALICE", "BOB", "5.00")]), "utf-8")
    assert run(cli, "post", str(file), "--atomic").exit_code == 0
    assert posted(cli, "ALICE") == "994.00"


def _process(*arguments: str, **pipes: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tallystick", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **pipes
    )


def test_a_pipe_needs_a_prefix_and_is_read_once(cli: CliRunner) -> None:
    funded(cli)
    for prefix in ([], ["--key-prefix", "pipe"]):
        with _process("post", "/dev/stdin", *prefix, stdin=subprocess.PIPE) as process:
            out, err = process.communicate(pay("ALICE", "BOB"), timeout=60)
        if prefix:
            assert (process.returncode, [one["status"] for one in map(json.loads, out.splitlines())]) == (0, ["posted"])
        else:
            assert (process.returncode, out, "[key_prefix_needed]" in err) == (1, "", True)
    assert posted(cli, "ALICE") == "999.00"


def test_a_closed_output_ends_a_command_and_says_what_was_posted(cli: CliRunner, tmp_path: Path) -> None:
    funded(cli)
    file = tmp_path / "journals.jsonl"
    file.write_text("\n".join(pay("ALICE", "BOB", "0.01", meta={"n": n}) for n in range(1500)), "utf-8")
    ended = {}
    for arguments in (["post", str(file)], ["account", "list"], ["trial-balance"]):
        with _process(*arguments) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            ended[arguments[0]] = (process.stderr.read(), process.wait(60))
    said, status = ended["post"]
    assert (status, posted(cli, "ALICE")) == (141, "990.00")
    assert "1000 posted, 0 of them earlier, 0 refused" in said
    assert "nothing twice" in said
    assert ended["account"] == ended["trial-balance"] == ("", 141)
    assert "1500 posted, 1000 of them earlier" in run(cli, "post", str(file)).stderr


def test_only_what_migrates_warns_of_the_missing_owner(cli: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TALLYSTICK_OWNER_URL")
    assert "also migrates" not in run(cli, "verify", "--ledger").stderr
    assert "also migrates" in run(cli, "migrate").stderr


async def test_no_api_key_can_be_made_in_an_operators_name(db: Database) -> None:
    for name in ("cli:anna", "clock"):
        with pytest.raises(Invalid) as refused:
            async with db.write() as tx:
                await identity.create_key(tx, name, by="test")
        assert refused.value.code == "name_reserved"


async def test_each_call_is_one_event_of_the_record(db: Database) -> None:
    await fund(db)
    async with db.write() as tx:
        (read,) = await ledger.read_journals(tx, "cli:anna", [ledger.NamedJournal("t", [("ALICE", "-1"), ("BOB", "1")])])
        assert isinstance(read, ledger.Journal)
        posted = await ledger.post_on_record(tx, [read, read, read])
        event = await audit.latest(tx, subject_kind="journal", subject_id=posted[0].journal_id or 0)
        assert await ledger.post_on_record(tx, []) == []
    assert event is not None
    assert (event.principal, event.detail["done"]) == ("cli:anna", 3)
