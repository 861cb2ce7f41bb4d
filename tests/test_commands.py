"""The commands as a stranger runs them: real processes, real signals, real kills."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from typer.testing import CliRunner

from tallystick.cli.main import SUBCOMMANDS, Subcommand, app
from tests.conftest import TestDatabase
from tests.processes import keepers, kill, python, servers, wait_until

pytestmark = pytest.mark.faults

COMMAND = [sys.executable, "-m", "tallystick"]


@pytest.fixture
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tallystick-") as folder:
        path = Path(folder).resolve() / "data"
        yield path
        wait_until(lambda: not keepers(path), "the keeper to end")


def _environment(**more: str) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("TALLYSTICK_", "DATABASE_URL", "API_KEY"))
    }
    return kept | more


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
        env=_environment(**environment),
        cwd=tempfile.gettempdir(),
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on; killed at the end if it still runs."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_environment(**environment),
        cwd=tempfile.gettempdir(),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def address(process: subprocess.Popen[str]) -> str:
    """The address that the command printed."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if found := re.search(r"(?:runs|serves) on (http://\S+)", line):
            return found[1]
    raise AssertionError(f"no address was printed:\n{seen}")


def call(url: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """One request; the status and the JSON of the answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def _transfer(base: str, key: str, amount: str = "1.00") -> tuple[int, Any]:
    body = {"from_account": "ACC123", "to_account": "ACC999", "amount": {"amount": amount, "currency": "USD"}}
    return call(f"{base}/v1/transfers", body, **{"idempotency-key": key})


def test_demo_serves_and_ctrl_c_leaves_nothing_behind(data: Path) -> None:
    with started("demo", "--port", "0", "--data", str(data)) as demo:
        base = address(demo)
        assert call(f"{base}/accounts/ACC123/balance") == (200, {"account_id": "ACC123", "balance": 10000.00})
        assert _transfer(base, "one")[0] == 201
        os.killpg(demo.pid, signal.SIGINT)
        output, _ = demo.communicate(timeout=60)
        assert demo.returncode == 0, output
        assert "Traceback" not in output
    assert servers(data) == []
    assert keepers(data) == []


def test_after_everything_is_killed_demo_starts_again_and_has_what_it_acknowledged(data: Path) -> None:
    with started("demo", "--port", "0", "--data", str(data)) as demo:
        base = address(demo)
        first = _transfer(base, "one")
        queued = {
            "from_account": "ACC123",
            "to_account": "ACC999",
            "amount": {"amount": "2.00", "currency": "USD"},
            "settle": "queued",
        }
        assert call(f"{base}/v1/transfers", queued, **{"idempotency-key": "two"})[0] == 202
        for pid in [demo.pid, *keepers(data), *servers(data)]:
            kill(pid)
        demo.wait(timeout=60)
    with started("demo", "--port", "0", "--data", str(data)) as demo:
        base = address(demo)
        assert _transfer(base, "one") == first
        wait_until(lambda: call(f"{base}/v1/accounts/ACC123")[1]["posted"] == "9997.00", "the queued transfer to be settled")
        demo.send_signal(signal.SIGTERM)
        demo.communicate(timeout=60)


def test_fresh_begins_anew_and_spares_what_is_not_ours(data: Path) -> None:
    with started("demo", "--port", "0", "--data", str(data)) as demo:
        _transfer(address(demo), "one")
        in_use = run("demo", "--port", "0", "--data", str(data), "--fresh")
        assert (in_use.returncode, "data_folder_in_use" in in_use.stderr) == (1, True), in_use.stderr
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
    with started("demo", "--port", "0", "--data", str(data), "--fresh") as demo:
        assert call(f"{address(demo)}/v1/accounts/ACC123")[1]["posted"] == "10000.00"
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
    foreign = data.parent / "foreign"
    foreign.mkdir()
    (foreign / "letter").write_text("dear")
    refused = run("demo", "--port", "0", "--data", str(foreign), "--fresh")
    assert (refused.returncode, "not_a_data_folder" in refused.stderr) == (1, True), refused.stderr
    assert (foreign / "letter").exists()


@pytest.mark.parametrize("arguments", [("demo", "--host", "0.0.0.0"), ("serve", "--open", "--host", "0.0.0.0")])
def test_nothing_is_open_beyond_loopback(data: Path, arguments: tuple[str, ...]) -> None:
    refused = run(*arguments, "--port", "0", "--data", str(data))
    assert refused.returncode == 1
    assert "open_beyond_loopback" in refused.stderr
    assert not data.exists()


def test_a_taken_port_is_one_clear_line(data: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused = run("demo", "--port", str(taken.getsockname()[1]), "--data", str(data))
    assert refused.returncode == 1
    assert "address_in_use" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_of_this_machine_is_not_said_to_be_in_use(host: str) -> None:
    refused = run("serve", "--host", host, "--port", "0", DATABASE_URL=f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    assert refused.returncode == 1
    assert "[address_unknown]" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_serve_asks_for_a_key_that_was_made_and_not_revoked(data: Path) -> None:
    made = run("keys", "create", "payments", "--kind", "service", "--data", str(data))
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    with started("serve", "--port", "0", "--data", str(data), API_KEY="bootstrap-key-of-the-operator") as server:
        base = address(server)
        body = {"name": "ACC1", "currency": "CZK"}
        assert call(f"{base}/v1/accounts")[0] == 401
        assert call(f"{base}/v1/accounts", body)[1]["code"] == "key_missing"
        assert call(f"{base}/v1/accounts", authorization="Bearer wrong")[0] == 401
        assert call(f"{base}/v1/accounts", authorization=f"Bearer {key}")[0] == 200
        assert call(f"{base}/v1/accounts", authorization="Bearer bootstrap-key-of-the-operator")[0] == 200
        assert call(f"{base}/healthz")[0] == call(f"{base}/readyz")[0] == 200
        listed = run("keys", "list", "--data", str(data))
        assert key[:10] in listed.stdout
        assert key not in listed.stdout
        assert run("keys", "revoke", "1", "--data", str(data)).returncode == 0
        wait_until(lambda: call(f"{base}/v1/accounts", authorization=f"Bearer {key}")[0] == 401, "the key to be refused")
        server.send_signal(signal.SIGTERM)
        output, _ = server.communicate(timeout=60)
        assert key not in output
    log = (data / "postgres.log").read_text()
    assert key not in log


def test_a_worker_of_its_own_settles_what_the_server_queued(data: Path) -> None:
    with started("demo", "--port", "0", "--data", str(data)) as demo:
        address(demo)
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
    with started("serve", "--open", "--port", "0", "--data", str(data)) as server:
        base = address(server)
        body = {"from_account": "ACC123", "to_account": "ACC999", "amount": 50.0}
        assert call(f"{base}/transfers", body)[1]["status"] == "queued"
        assert call(f"{base}/accounts/ACC123/balance")[1]["balance"] == 10000
        with started("worker", "--data", str(data)) as worker:
            wait_until(lambda: call(f"{base}/accounts/ACC123/balance")[1]["balance"] == 9950, "the worker to settle it")
            worker.send_signal(signal.SIGTERM)
            worker.communicate(timeout=60)
            assert worker.returncode == 0


def test_a_database_that_was_not_migrated_is_refused_in_one_line(data: Path) -> None:
    with started("demo", "--port", "0", "--data", str(data)) as demo:
        address(demo)
        url = f"postgresql://postgres@/postgres?host={data}/postgres"
        refused = run("serve", "--port", "0", DATABASE_URL=url)
        assert refused.returncode == 1
        assert "not_migrated" in refused.stderr
        migrated = run("migrate", DATABASE_URL=url)
        assert migrated.returncode == 0, migrated.stderr
        with started("serve", "--port", "0", "--open", DATABASE_URL=url) as server:
            assert call(f"{address(server)}/readyz")[0] == 200
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)


def test_a_database_that_is_not_there_is_refused_in_one_line() -> None:
    begun = time.monotonic()
    refused = run("serve", "--port", "0", DATABASE_URL=f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    assert refused.returncode == 1
    assert "database_unavailable" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("url", ["postgress://app:sekret@host/db", "sekret", "mysql://app:sekret@host/db"])
def test_a_url_that_is_none_is_one_line_without_its_password(url: str) -> None:
    refused = run("migrate", DATABASE_URL=url)
    assert refused.returncode == 1
    assert "DATABASE_URL" in refused.stderr
    assert "sekret" not in refused.stderr + refused.stdout
    assert "Traceback" not in refused.stderr


def test_a_data_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = run("keys", "list", "--data", str(tmp_path / "file"))
    assert refused.returncode == 1
    assert "embedded_postgres" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_setting_that_makes_no_sense_is_one_line_that_does_not_repeat_it() -> None:
    refused = run("serve", TALLYSTICK_POOL_MAX_SIZE="a-secret-by-mistake")
    assert refused.returncode == 1
    assert "TALLYSTICK_POOL_MAX_SIZE" in refused.stderr
    assert "a-secret-by-mistake" not in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_setting_is_called_by_its_name_wherever_it_belongs() -> None:
    for command, name, value in (
        ("worker", "TALLYSTICK_WEBHOOKS_ALLOW", "garbage"),
        ("serve", "TALLYSTICK_HTTP_RATE_PER_S", "garbage"),
        ("serve", "TALLYSTICK_POOL_MAX_SIZE", "garbage"),
        ("migrate", "DATABASE_URL", "garbage"),
    ):
        refused = run(command, **({"DATABASE_URL": f"postgresql://nobody@127.0.0.1:{free_port()}/none"} | {name: value}))
        assert refused.returncode == 1
        lines = refused.stderr.splitlines()
        assert len([line for line in lines if line.startswith(f"error: setting {name}: ")]) == len(lines) == 1, refused.stderr
        assert "garbage" not in refused.stderr


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dbname": "no-such-database"}, "does not exist"),
        ({"user": "no-such-user"}, "does not exist"),
        ({"host": "no-such-host.invalid"}, "resolve host"),
        ({"host": "127.0.0.1", "port": "1"}, "refused"),
    ],
)
def test_why_a_database_cannot_be_reached_is_told_without_its_password(
    database: TestDatabase, change: dict[str, str], reason: str
) -> None:
    given = {**conninfo_to_dict(database.app_url), "password": "sekret", **change}
    for command in (("keys", "list"), ("migrate",)):
        refused = run(*command, DATABASE_URL=make_conninfo(**given))  # type: ignore[arg-type]
        assert refused.returncode == 1
        told = refused.stderr.replace("\n", " ")
        assert "[database_unavailable]" in told
        for part in (reason, f"host {given['host']}", f"port {given['port']}", f"database {given['dbname']}"):
            assert part in told, told
        assert "sekret" not in told


def test_help_lists_every_command_and_imports_none() -> None:
    at_exit = "import atexit, sys; atexit.register(lambda: print('imported', *sys.modules))"
    process = python(f"{at_exit}; sys.argv = ['tallystick', '--help']; from tallystick.cli import main; main()")
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    listed, imported = told.split("imported")
    assert "Usage:" in listed
    assert all(f" {subcommand.name} " in listed for subcommand in SUBCOMMANDS)
    assert {"tallystick.cli.main", "rich"} <= set(imported.split())
    assert not {"tallystick.db", "tallystick.ledger", "psycopg", "fastapi", "pydantic", "sqlalchemy"} & set(imported.split())


@pytest.mark.parametrize("subcommand", SUBCOMMANDS, ids=lambda subcommand: subcommand.name)
def test_every_command_explains_itself(subcommand: Subcommand) -> None:
    helped = CliRunner().invoke(app, [str(subcommand.name), "--help"], env={"COLUMNS": "200"})
    assert (helped.exit_code, "Usage:" in helped.stdout) == (0, True)
    # The list of all commands says of each what it says of itself.
    own = str(subcommand.load().help)
    assert subcommand.help == " ".join(own.partition("\n\n")[0].split())
    assert str(subcommand.help) in helped.stdout
