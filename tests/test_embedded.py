"""The embedded server: it runs while anyone uses it, and comes back from every kill with what it had acknowledged."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tallystick.db import EmbeddedServer
from tallystick.db.embedded import bundled_bin_dir
from tallystick.kit import Invalid
from tests.conftest import bin_dir
from tests.processes import alive, keepers, kill, postmaster, python, servers, wait_until

pytestmark = pytest.mark.faults

_USER = """
import sys, pathlib
from tallystick.db import EmbeddedServer
bin_dir = pathlib.Path(sys.argv[2]) if sys.argv[2] else None
with EmbeddedServer(pathlib.Path(sys.argv[1]), bin_dir=bin_dir) as server:
    print(server.url, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tallystick-") as folder:
        # PostgreSQL before 16 walks to its working folder; only the bundled one is used below closed folders.
        Path(folder).chmod(0o755)
        path = Path(folder).resolve() / "data"
        yield path
        wait_until(lambda: not keepers(path), "the keeper to end")


def _user(data: Path) -> subprocess.Popen[str]:
    return python(_USER, str(data), str(bin_dir() or ""), stdin=subprocess.PIPE)


def _url(user: subprocess.Popen[str]) -> str:
    assert user.stdout is not None
    return user.stdout.readline().strip()


def _leave(user: subprocess.Popen[str]) -> None:
    user.communicate("\n", timeout=60)


def _write(url: str, value: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("create table if not exists t (value int)")
        connection.execute("insert into t values (%s)", (value,))


def _read(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [value for (value,) in connection.execute("select value from t order by 1")]


def test_the_server_is_durable_and_listens_on_no_address(data: Path) -> None:
    with EmbeddedServer(data, bin_dir=bin_dir()) as server, psycopg.connect(server.url) as connection:
        for setting, wanted in {
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "listen_addresses": "",
        }.items():
            row = connection.execute(f"show {setting}".encode()).fetchone()
            assert row == (wanted,), setting


def test_the_last_of_two_users_stops_the_server(data: Path) -> None:
    first, second = _user(data), _user(data)
    assert _url(first) == _url(second)
    assert len(keepers(data)) == 1
    pid = postmaster(data)
    _leave(first)
    assert alive(pid)
    _leave(second)
    assert not alive(pid)
    assert servers(data) == []


def test_a_killed_user_does_not_leave_the_server_behind(data: Path) -> None:
    user = _user(data)
    _write(_url(user), 1)
    user.kill()
    user.communicate()
    wait_until(lambda: servers(data) == [], "the server to stop")
    with EmbeddedServer(data, bin_dir=bin_dir()) as server:
        assert _read(server.url) == [1]


def test_a_killed_server_is_started_again_and_has_what_it_acknowledged(data: Path) -> None:
    with EmbeddedServer(data, bin_dir=bin_dir()) as server:
        _write(server.url, 1)
        before = postmaster(data)
        kill(before)

        def back() -> bool:
            try:
                return _read(server.url) == [1]
            except psycopg.OperationalError:
                return False

        wait_until(back, "the server to come back")
        assert postmaster(data) != before


def test_after_everything_was_killed_the_next_start_works(data: Path) -> None:
    user = _user(data)
    _write(_url(user), 1)
    for pid in [*keepers(data), user.pid, *servers(data)]:
        kill(pid)
    user.communicate()
    with EmbeddedServer(data, bin_dir=bin_dir()) as server:
        assert _read(server.url) == [1]


def test_a_server_whose_keeper_was_killed_is_taken_over(data: Path) -> None:
    user = _user(data)
    _write(_url(user), 1)
    (keeper,) = keepers(data)
    kill(keeper)
    user.kill()
    user.communicate()
    pid = postmaster(data)
    assert alive(pid)
    with EmbeddedServer(data, bin_dir=bin_dir()) as server:
        assert _read(server.url) == [1]
        assert postmaster(data) == pid
    wait_until(lambda: not alive(pid), "the server to stop")


def test_leaving_just_after_the_server_was_killed_leaves_nothing_running(data: Path) -> None:
    for _ in range(5):
        server = EmbeddedServer(data, bin_dir=bin_dir())
        server.start()
        kill(postmaster(data))
        server.stop()
        assert keepers(data) == []
        wait_until(lambda: not servers(data), "what the killed server left to end")


def test_a_keeper_and_its_server_that_are_killed_come_back_while_they_are_used(data: Path) -> None:
    with EmbeddedServer(data, bin_dir=bin_dir()) as server:
        _write(server.url, 1)
        for pid in [*keepers(data), *servers(data)]:
            kill(pid)

        def back() -> bool:
            try:
                return _read(server.url) == [1]
            except psycopg.OperationalError:
                return False

        wait_until(back, "a new keeper to start the server")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other accounts to run as")
def test_programs_that_the_other_account_cannot_reach_are_copied(data: Path) -> None:
    closed = data.parent / "closed"
    closed.mkdir(mode=0o700)
    programs = bin_dir() or bundled_bin_dir()
    if bin_dir() is not None:
        pytest.skip("the server we bundle is the one that is started so")
    package = programs.parent.parent
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, closed / part.name)
    with EmbeddedServer(data, bin_dir=closed / programs.relative_to(package.parent)) as server:
        _write(server.url, 1)
        assert _read(server.url) == [1]


def test_an_initialisation_that_was_killed_is_done_again(data: Path) -> None:
    (data / "postgres" / "base").mkdir(parents=True)
    (data / "postgres" / "PG_VERSION").write_text("18")
    (data / "initialising").touch()
    with EmbeddedServer(data, bin_dir=bin_dir()) as server:
        _write(server.url, 1)
    assert not (data / "initialising").exists()


def test_a_folder_that_holds_what_is_not_ours_is_left_alone(data: Path) -> None:
    (data / "postgres").mkdir(parents=True)
    (data / "postgres" / "letter").write_text("dear")
    with pytest.raises(Invalid, match="not_a_data_folder"):
        EmbeddedServer(data, bin_dir=bin_dir()).start()
    assert (data / "postgres" / "letter").read_text() == "dear"
    assert keepers(data) == []


def test_any_path_will_do_for_a_data_folder(data: Path) -> None:
    odd = data.parent / "it's a, 'data' folder"
    with EmbeddedServer(odd, bin_dir=bin_dir()) as server:
        _write(server.url, 1)
        assert _read(server.url) == [1]
    wait_until(lambda: not keepers(odd), "the keeper to end")


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(data: Path) -> None:
    user = python(
        _USER, str(data), str(bin_dir() or ""), stdin=subprocess.PIPE, start_new_session=True, stderr=subprocess.DEVNULL
    )
    _write(_url(user), 1)
    os.killpg(user.pid, signal.SIGINT)
    user.communicate(timeout=60)
    wait_until(lambda: servers(data) == [], "the server to stop")
    assert "database system was interrupted" not in (data / "postgres.log").read_text()


def _interpreter_for_all() -> str | None:
    """A Python like ours that every account may run; ours may live in a home folder."""
    for candidate in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        path = Path(candidate).resolve()
        if path.exists() and all(folder.stat().st_mode & 0o005 == 0o005 for folder in (path, *path.parents)):
            return str(path)
    return None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other accounts to run as")
@pytest.mark.skipif(_interpreter_for_all() is None, reason="no Python here that another account may run")
def test_an_ordinary_user_runs_it_too() -> None:
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        data = Path(folder).resolve() / "data"
        environment = {
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "HOME": folder,
            "PATH": os.environ["PATH"],
        }
        user = python(
            _USER,
            str(data),
            str(bin_dir() or ""),
            executable=_interpreter_for_all() or "",
            stdin=subprocess.PIPE,
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
            env=environment,
            cwd=folder,
        )
        _write(_url(user), 1)
        assert Path(f"/proc/{postmaster(data)}").stat().st_uid == nobody.pw_uid
        _leave(user)
        assert servers(data) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other accounts to run as")
@pytest.mark.skipif(bin_dir() is not None, reason="the server we bundle is the one that is started so")
def test_root_needs_no_folder_on_the_way_to_be_opened_up() -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder).resolve() / "closed" / ("deep" * 30) / "data"
        data.parent.mkdir(parents=True)
        data.parent.parent.chmod(0o700)
        with EmbeddedServer(data, bin_dir=bin_dir()) as server:
            _write(server.url, 1)
            assert Path(f"/proc/{postmaster(data)}").stat().st_uid != 0
        assert data.parent.parent.stat().st_mode & 0o777 == 0o700
