"""Tasks at the command line: seen, added, put back, cancelled, answered, paused, each by a named operator."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from tallystick import audit, work
from tallystick.cli.main import app
from tallystick.cli.tasks import archive
from tallystick.cli.tasks.archive import Archive, Part
from tallystick.cli.tasks.retiring import _Retiring
from tallystick.cli.tasks.text import length, plain, seconds_of
from tallystick.db import Database, DatabaseSettings, Tx
from tests.conftest import TestDatabase

HASH = bytes(32)
Do = Callable[[Callable[[Tx], Awaitable[Any]]], Any]


@pytest.fixture
def cli(database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("DATABASE_URL", database.app_url)
    monkeypatch.setenv("TALLYSTICK_OWNER_URL", database.owner_url)
    return CliRunner()


@pytest.fixture
def do(database: TestDatabase) -> Do:
    """Call verbs in one transaction, from a test that is not async: the command runs a loop of its own."""

    async def called(verb: Callable[[Tx], Awaitable[Any]]) -> Any:
        db = Database(database.app_url, DatabaseSettings())
        await db.open()
        try:
            async with db.write() as tx:
                return await verb(tx)
        finally:
            await db.close()

    return lambda verb: asyncio.run(called(verb))


def run(cli: CliRunner, *arguments: str, stdin: str | None = None) -> Result:
    return cli.invoke(app, ["tasks", *arguments], input=stdin)


def told(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def add(cli: CliRunner, *arguments: str) -> str:
    result = run(cli, "add", *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def shown(cli: CliRunner, task_id: str) -> dict[str, Any]:
    return told(run(cli, "show", task_id, "--json"))[0]


async def claim(tx: Tx) -> work.Claimed:
    (claimed,) = await work.claim(tx, agents=["risk"], worker="w", limit=1)
    return claimed


async def give_up(tx: Tx) -> None:
    one = await claim(tx)
    await work.fail(tx, [work.Failure(one.task_id, one.fence, "model_down: no answer")], "w")


async def ask(tx: Tx) -> None:
    one = await claim(tx)
    wait = work.Wait("approval", "release", HASH, in_s=3600, question={"text": "Release 12.50 USD?"})
    await work.park(tx, one.task_id, one.fence, wait)


def test_a_task_is_added_once_under_a_key_and_shown_as_it_stands(cli: CliRunner) -> None:
    added = add(cli, "risk", "screen", '{"amount": 12.50}', "--key", "k", "--priority", "5", "--as", "anna")
    assert add(cli, "risk", "screen", '{"amount": 12.50}', "--key", "k", "--priority", "5", "--as", "anna") == added
    reused = run(cli, "add", "risk", "screen", "{}", "--key", "k", "--as", "anna")
    assert (reused.exit_code, reused.stdout, "[key_reused]" in reused.stderr) == (1, "", True)
    task = shown(cli, added)
    assert (task["id"], task["status"], task["created_by"], task["priority"]) == (added, "queued", "cli:anna", 5)
    assert '"amount":12.50' in run(cli, "show", added, "--json").stdout
    text = run(cli, "show", added).stdout
    assert text.startswith(f"task {added}  queued\n")
    assert 'payload   {"amount":12.50}' in text


def test_a_payload_comes_from_standard_input_too(cli: CliRunner) -> None:
    added = run(cli, "add", "risk", "screen", "-", stdin='{"n": 1}')
    assert shown(cli, added.stdout.strip())["payload"] == {"n": 1}


REFUSED = [
    (["add", "risk", "screen", "{"], "json_malformed"),
    (["add", "risk", "screen", "[1]"], "payload_malformed"),
    (["add", "no name", "screen"], "name_malformed"),
    (["add", "settlement-agent", "settle"], "reserved_agent"),
    (["add", "risk", "screen", "--after", "999"], "unknown_task"),
    (["add", "risk", "screen", "--run-at", "soon"], "time_malformed"),
    (["add", "risk", "screen", "--run-at", "2026-11-20T17:00"], "time_malformed"),
    (["add", "risk", "screen", "--as", "a b"], "name_malformed"),
    (["show", "999"], "unknown_task"),
    (["show", "9" * 30], "unknown_task"),
    (["list", "--before", "9" * 30], "unknown_task"),
    (["retry", "999"], "unknown_task"),
    (["cancel", "999", "--reason", "x"], "unknown_task"),
    (["answer", "999", "release", "--approve"], "unknown_task"),
    (["resume", "agent", "risk"], "not_paused"),
    (["limit", "agent", "risk", "many"], "limit_out_of_range"),
    (["limit", "agent", "risk", "0"], "limit_out_of_range"),
    (["pause", "agent", "a b"], "name_malformed"),
    (["queues", "--window", "soon"], "length_malformed"),
    (["queues", "--window", "2d"], "window_out_of_range"),
    (["configure", "risk", "screen", "--timeout-s", "0"], "policy_out_of_range"),
]


def test_what_cannot_be_done_is_one_line_and_status_1(cli: CliRunner) -> None:
    for arguments, code in REFUSED:
        result = run(cli, *arguments)
        assert (arguments, result.exit_code, result.stdout) == (arguments, 1, "")
        assert f"[{code}]" in result.stderr.replace("\n", "")


def test_a_command_that_does_not_say_enough_is_status_2(cli: CliRunner) -> None:
    for arguments in (["cancel", "1"], ["answer", "1", "release"], ["list", "--status", "lost"], ["show", "0"]):
        assert (arguments, run(cli, *arguments).exit_code) == (arguments, 2)


def test_tasks_are_listed_newest_first_by_agent_type_and_status(cli: CliRunner, do: Do) -> None:
    first, second = add(cli, "risk", "screen"), add(cli, "risk", "report", "--run-at", "2099-01-01")
    third = add(cli, "kyc", "screen")

    def ids(*arguments: str) -> list[str]:
        return [task["id"] for task in told(run(cli, "list", "--json", *arguments))]

    assert ids() == [third, second, first]
    assert ids("--agent", "risk") == [second, first]
    assert ids("--type", "screen") == [third, first]
    assert ids("--status", "waiting") == [second]
    assert ids("--agent", "risk", "--type", "screen", "--status", "queued") == [first]
    assert ids("--limit", "1", "--before", third) == [second]
    do(claim)
    head, *lines = run(cli, "list").stdout.splitlines()
    assert head.split()[:5] == ["ID", "AGENT", "TYPE", "STATUS", "ATTEMPTS"]
    assert [line.split()[:4] for line in lines] == [
        [third, "kyc", "screen", "queued"],
        [second, "risk", "report", "waiting"],
        [first, "risk", "screen", "running"],
    ]
    assert lines[1].endswith("run_at until 2099-01-01 00:00:00")
    assert lines[2].endswith("on w")


def test_a_dead_task_is_shown_with_its_attempts_and_put_back_by_name(cli: CliRunner, do: Do) -> None:
    dead, other = add(cli, "risk", "screen", "--max-attempts", "1", "--priority", "1"), add(cli, "risk", "screen")
    do(give_up)
    text = run(cli, "show", dead).stdout
    assert text.startswith(f"task {dead}  dead\n")
    assert text.count("model_down: no answer") == 2
    assert [one["ended"] for one in shown(cli, dead)["attempts_ended"]] == ["error"]
    back = run(cli, "retry", dead, other, "--as", "anna")
    assert (back.exit_code, back.stdout) == (1, f"task {dead} is queued\n")
    assert "[task_is_not_dead]" in back.stderr
    event = do(lambda tx: audit.latest(tx, subject_kind="task", subject_id=int(dead)))
    assert (event.principal, event.verb) == ("cli:anna", "tasks.put_back")


def test_a_cancelled_task_says_who_ended_it_and_why(cli: CliRunner, do: Do) -> None:
    first = add(cli, "risk", "screen")
    after = add(cli, "risk", "screen", "--after", first)
    assert f"the end of task {first}" in run(cli, "show", after).stdout
    assert shown(cli, after)["waiting"]["after"] == [first]
    do(claim)
    assert run(cli, "cancel", first, "--reason", "a test", "--as", "anna").stdout == f"task {first} is cancelled\n"
    task = shown(cli, first)
    assert (task["status"], task["error"], task["worker"]) == ("cancelled", "a test", "cli:anna")
    assert [one["ended"] for one in task["attempts_ended"]] == ["returned"]
    assert shown(cli, after)["status"] == "cancelled"
    again = run(cli, "cancel", first, after, "--reason", "again")
    assert (again.exit_code, len(again.stdout.splitlines())) == (0, 2)


def test_the_task_of_a_queued_transfer_is_not_cancelled(cli: CliRunner, do: Do) -> None:
    new = work.NewTask("settlement-agent", "settle", {"transfer": "1"})
    (task_id,) = do(lambda tx: work.enqueue(tx, "me", [new]))
    refused = run(cli, "cancel", str(task_id), "--reason", "x")
    assert (refused.exit_code, "[reserved_agent]" in refused.stderr) == (1, True)
    assert shown(cli, str(task_id))["status"] == "queued"


@pytest.mark.parametrize(("flag", "approved"), [("--approve", True), ("--reject", False)])
def test_a_question_is_listed_and_answered_once(cli: CliRunner, do: Do, flag: str, approved: bool) -> None:
    task = add(cli, "risk", "screen")
    do(ask)
    assert "an answer to release" in run(cli, "show", task).stdout
    (question,) = told(run(cli, "questions", "--json"))
    assert (question["task_id"], question["step"], question["question"]) == (task, "release", {"text": "Release 12.50 USD?"})
    assert "Release 12.50 USD?" in run(cli, "questions").stdout
    answered = run(cli, "answer", task, "release", flag, "--comment", "seen", "--as", "anna")
    assert answered.stdout == f"task {task} is queued\n"
    (done,) = [step for step in shown(cli, task)["steps"] if step["state"] == "done"]
    assert done["output"] == {"approved": approved, "by": "cli:anna", "comment": "seen"}
    late = run(cli, "answer", task, "release", "--reject")
    assert (late.exit_code, "[nothing_asked]" in late.stderr) == (1, True)
    assert told(run(cli, "questions", "--json")) == []


def test_steps_are_shown_one_a_line_with_their_tries_and_what_they_gave(cli: CliRunner, do: Do) -> None:
    task = add(cli, "risk", "screen")

    async def steps(tx: Tx) -> None:
        one = await claim(tx)
        detail = {"gen_ai.request.model": "m-1", "gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 3}
        for step in (
            work.NewStep("fetch", "step", "failed", HASH, 1, error="OSError: reset", took_ms=5),
            work.NewStep("fetch", "step", "failed", HASH, 2, error="OSError: reset", took_ms=5),
            work.NewStep("fetch", "step", "done", HASH, 3, output={"n": 1}, took_ms=1500),
            work.NewStep("judge", "model", "done", HASH, output="fine", detail=detail, took_ms=20),
            work.NewStep("pay", "call", "intent", HASH, detail={"key": "1:pay"}),
            work.NewStep("file", "step", "failed", HASH, error="ValueError: \x1b[2Jno\nway"),
        ):
            await work.record_step(tx, one.task_id, one.fence, step)

    do(steps)
    lines = [" ".join(line.split()) for line in run(cli, "show", task).stdout.splitlines() if line]
    assert [line for line in lines if line.split()[0] in ("fetch", "judge", "pay", "file")] == [
        'fetch step done 3 1.5 s 1 {"n":1}',
        'judge model done 1 20 ms 1 m-1, 12 -> 3 tokens: "fine"',
        "pay call meant 0 - 1",
        "file step failed 1 0 ms 1 ValueError: \\x1b[2Jno\\nway",
    ]
    assert [step["name"] for step in shown(cli, task)["steps"]] == ["fetch", "fetch", "fetch", "judge", "pay", "file"]
    assert [step["try"] for step in shown(cli, task)["steps"][:3]] == [1, 2, 3]


def test_a_task_behind_others_of_its_order_key_says_so(cli: CliRunner) -> None:
    first, second = (add(cli, "risk", "screen", "--order-key", "ACC1") for _ in range(2))
    assert shown(cli, second)["waiting"]["behind"] == [first]
    assert f"its turn behind task {first}" in run(cli, "show", second).stdout


def test_queues_tell_depth_age_rates_and_what_is_paused_or_limited(cli: CliRunner, do: Do) -> None:
    add(cli, "risk", "screen", "--max-attempts", "1", "--priority", "1")
    add(cli, "risk", "screen")
    do(give_up)
    assert run(cli, "pause", "type", "screen", "--as", "anna").exit_code == 0
    assert run(cli, "limit", "agent", "risk", "3").exit_code == 0
    (seen,) = told(run(cli, "queues", "--json"))
    (queue,) = seen["queues"]
    assert {name: queue[name] for name in ("queued", "dead", "retried", "done", "paused")} == {
        "queued": 1, "dead": 1, "retried": 1, "done": 0, "paused": True,
    }  # fmt: skip
    assert (queue["oldest_s"] >= 0, queue["done_per_s"]) == (True, 0)
    assert [(one["kind"], one["name"], one["max_running"], one["paused"], one["paused_by"]) for one in seen["brakes"]] == [
        ("agent", "risk", 3, False, None), ("type", "screen", None, True, "cli:anna"),
    ]  # fmt: skip
    lines = run(cli, "queues").stdout.splitlines()
    assert lines[1].endswith("paused")
    assert lines[2] == "agent risk: at most 3 running"
    assert lines[3].startswith("type screen: paused by cli:anna since ")
    assert run(cli, "resume", "type", "screen").exit_code == 0
    assert run(cli, "limit", "agent", "risk", "none").exit_code == 0
    assert told(run(cli, "queues", "--json"))[0]["brakes"] == []


def test_how_often_a_type_is_tried_is_set_for_the_next_attempts(cli: CliRunner, do: Do) -> None:
    (policy,) = told(run(cli, "configure", "risk", "screen", "--max-attempts", "1", "--as", "anna"))
    assert (policy["agent"], policy["type"], policy["max_attempts"], policy["max_crashes"]) == ("risk", "screen", 1, 5)
    event = do(lambda tx: audit.latest(tx, subject_kind="queue", subject_id=1))
    assert (event.principal, event.verb, event.detail["before"]) == ("cli:anna", "tasks.configure", None)
    assert event.detail["after"]["max_attempts"] == 1
    task = add(cli, "risk", "screen")
    do(give_up)
    assert shown(cli, task)["status"] == "dead"


def test_what_was_added_or_put_back_wakes_the_workers(cli: CliRunner, do: Do, database: TestDatabase) -> None:
    with psycopg.connect(database.owner_url, autocommit=True) as listener:
        listener.execute(f"listen {work.CHANNEL}".encode())
        task = add(cli, "risk", "screen", "--max-attempts", "1")
        do(give_up)
        assert run(cli, "retry", task).exit_code == 0
        assert len(list(listener.notifies(timeout=5, stop_after=2))) == 2


SPAN = 1_000_000


def ended(cli: CliRunner, do: Do, database: TestDatabase, *, span: int = 0) -> str:
    """A task with an attempt, a step and an outcome in one range of ids, all of which were given out."""
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        owner.execute("select setval('work.task_id', greatest(%s, 1))", (span * SPAN,))
    task = add(cli, "risk", "screen", '{"amount": 12.50}')

    async def all_of_it(tx: Tx) -> None:
        first = await claim(tx)
        await work.fail(tx, [work.Failure(first.task_id, first.fence, "busy", retry_in_s=0)], "w")
        one = await claim(tx)
        await work.record_step(tx, one.task_id, one.fence, work.NewStep("s", "step", "done", HASH, output={"n": 1}))
        await work.finish(tx, [work.Finish(one.task_id, one.fence, "done", {"ok": True})], "w")

    do(all_of_it)
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        owner.execute("select setval('work.task_id', %s)", ((span + 1) * SPAN,))
    return task


def exports(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


FIRST = "tasks-000000000000-000000999999"


def test_old_tasks_are_exported_with_a_manifest_and_then_dropped(
    cli: CliRunner, do: Do, database: TestDatabase, tmp_path: Path
) -> None:
    task = ended(cli, do, database)
    folder = tmp_path / "deep" / "archive"
    young = run(cli, "retire", "--older-than", "90d", "--export", str(folder))
    assert (young.exit_code, young.stdout) == (0, "kept: tasks of the range from 0 ended too recently\n")
    assert exports(folder) == []
    done = run(cli, "retire", "--older-than", "0s", "--export", str(folder), "--as", "anna")
    assert done.stdout == f"{FIRST}: 1 tasks, 1 attempts, 1 steps, 1 outcomes; exported and dropped\n"
    assert exports(folder) == [f"{FIRST}.json", f"{FIRST}.jsonl.gz"]
    assert [(folder / name).stat().st_mode & 0o777 for name in exports(folder)] == [0o600, 0o600]
    packed = (folder / f"{FIRST}.jsonl.gz").read_bytes()
    lines = gzip.decompress(packed)
    manifest = json.loads((folder / f"{FIRST}.json").read_bytes())
    assert (manifest["sha256"], manifest["file_sha256"], manifest["file_bytes"]) == (
        hashlib.sha256(lines).hexdigest(), hashlib.sha256(packed).hexdigest(), len(packed),
    )  # fmt: skip
    assert [manifest[name] for name in ("from_id", "to_id", "tasks", "attempts", "steps", "outcomes", "exported_by")] == [
        0, SPAN, 1, 1, 1, 1, "cli:anna",
    ]  # fmt: skip
    assert [json.loads(line)["fact"] for line in lines.splitlines()] == ["task", "attempt", "step", "outcome"]
    assert b'"amount": 12.50' in lines
    assert "[unknown_task]" in run(cli, "show", task).stderr
    (first, *_) = do(work.history)
    assert first.exported["sha256"] == manifest["sha256"]
    event = do(lambda tx: audit.latest(tx, subject_kind="work", subject_id=0))
    assert (event.principal, event.verb) == ("cli:anna", "tasks.drop_history")


def test_a_range_with_a_task_that_has_not_ended_holds_up_those_behind_it(
    cli: CliRunner, do: Do, database: TestDatabase, tmp_path: Path
) -> None:
    waiting = add(cli, "kyc", "review", "--run-at", "2099-01-01")
    ended(cli, do, database)
    ended(cli, do, database, span=1)
    kept = run(cli, "retire", "--older-than", "0s", "--export", str(tmp_path))
    assert kept.stdout == "kept: not all tasks of the range from 0 have ended\n"
    assert exports(tmp_path) == []
    assert run(cli, "cancel", waiting, "--reason", "too old").exit_code == 0
    assert run(cli, "retire", "--older-than", "0s", "--export", str(tmp_path)).stdout.count("exported and dropped") == 2
    assert len(exports(tmp_path)) == 4


class _Killed(BaseException):
    """What ends the command at once, where a kill would."""


@pytest.mark.parametrize("moment", ["to_disk", "keep", "describe", "_drop"])
def test_a_retirement_that_was_killed_is_run_again_and_loses_nothing(
    *, cli: CliRunner, do: Do, database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    task = ended(cli, do, database)

    def killed(*_: object, **__: object) -> None:
        raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr({"to_disk": Part, "keep": Archive, "describe": Archive, "_drop": _Retiring}[moment], moment, killed)
        with pytest.raises(_Killed):
            cli.invoke(app, ["tasks", "retire", "--older-than", "0s", "--export", str(tmp_path)], catch_exceptions=False)
    assert shown(cli, task)["status"] == "done"
    # A real kill leaves what was being written.
    (tmp_path / f"{FIRST}.jsonl.gz.part").write_bytes(b"half")
    (tmp_path / f"{FIRST}.json.part").write_bytes(b"half")
    again = run(cli, "retire", "--older-than", "0s", "--export", str(tmp_path))
    assert "exported and dropped" in again.stdout, again.stderr
    manifest = json.loads((tmp_path / f"{FIRST}.json").read_bytes())
    assert hashlib.sha256(gzip.decompress((tmp_path / f"{FIRST}.jsonl.gz").read_bytes())).hexdigest() == manifest["sha256"]
    assert "[unknown_task]" in run(cli, "show", task).stderr


@pytest.mark.parametrize("kind", ["manifest", "file"])
def test_nothing_is_dropped_where_the_folder_holds_another_export(
    cli: CliRunner, do: Do, database: TestDatabase, tmp_path: Path, kind: str
) -> None:
    task = ended(cli, do, database)
    assert run(cli, "retire", "--older-than", "0s", "--export", str(tmp_path), "--keep").exit_code == 0
    if kind == "manifest":
        (tmp_path / f"{FIRST}.json").write_text('{"sha256": "00"}')
    else:
        (tmp_path / f"{FIRST}.jsonl.gz").write_bytes(gzip.compress(b"others\n"))
    refused = run(cli, "retire", "--older-than", "0s", "--export", str(tmp_path))
    assert (refused.exit_code, "[export_exists]" in refused.stderr) == (1, True)
    assert shown(cli, task)["status"] == "done"
    assert not list(tmp_path.glob("*.part"))


def test_nothing_is_dropped_where_the_disk_gives_back_something_else(
    cli: CliRunner, do: Do, database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = ended(cli, do, database)
    monkeypatch.setattr(archive, "lines_digest", lambda _: "00")
    refused = run(cli, "retire", "--older-than", "0s", "--export", str(tmp_path))
    assert (refused.exit_code, "[export_failed]" in refused.stderr.replace("\n", "")) == (1, True)
    assert shown(cli, task)["status"] == "done"
    assert exports(tmp_path) == []


def test_a_folder_that_cannot_be_written_or_is_in_use_is_one_line(cli: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    bad = run(cli, "retire", "--older-than", "0s", "--export", str(tmp_path / "file"))
    assert (bad.exit_code, "[export_failed]" in bad.stderr.replace("\n", "")) == (1, True)
    with archive.archive(tmp_path):
        busy = run(cli, "retire", "--older-than", "0s", "--export", str(tmp_path))
    assert (busy.exit_code, "[export_in_progress]" in busy.stderr.replace("\n", "")) == (1, True)


def test_lengths_of_time_are_read_and_written() -> None:
    assert [seconds_of(text) for text in ("30s", "5m", "12h", "90d")] == [30, 300, 43_200, 7_776_000]
    assert [length(seconds) for seconds in (None, 0.0123, 9.96, 45, 600, 7200, 200_000)] == [
        "-", "12 ms", "10.0 s", "45 s", "10 min", "2 h", "2 d",
    ]  # fmt: skip
    assert plain("a\tb\u202e\x1b[0m é") == "a\\tb\\u202e\\x1b[0m é"
