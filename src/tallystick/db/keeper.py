"""The process that runs the embedded PostgreSQL server for as long as anyone uses it.

Run as `python -m tallystick.db.keeper DATA BIN_DIR [name=value …]`. It starts the server, starts it again when it was killed,
and stops it when it can have the exclusive lock on `users.lock`, that is, when the last user has left or died.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tallystick.db.embedded import (
    SUPERUSER,
    Layout,
    check_cluster,
    reachable_bin_dir,
    running_server,
    server_account,
    try_exclusive,
)

_POLL_S = 0.1
_TRIES = 10
_RESTARTS = 5
_CALM_S = 60

_DURABLE = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "100",
    "max_wal_size": "2GB",
    "shared_buffers": "256MB",
    # Tables whose rows come and go, as those of tasks, slow down between two looks; see docs/decisions/0004-work.md.
    "autovacuum_naptime": "5s",
    "log_min_messages": "warning",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Keeper:
    """Runs one server. The server's working folder is its data folder, and every path it is given is relative to it.

    Where we are root the server runs under another account, which may not be able to walk down to the data folder (below
    `/root`, say). `/proc/self/cwd` leads there without a walk, so no folder on the way has to be opened up.
    """

    def __init__(self, data: Path, bin_dir: Path, options: dict[str, str]) -> None:
        self._layout = Layout(data)
        self._account = server_account(data)
        self._bin_dir = reachable_bin_dir(bin_dir, data, self._account)
        self._options = _DURABLE | options
        self._process: subprocess.Popen[bytes] | None = None
        self._adopted: int | None = None

    def run(self) -> None:
        lock = os.open(self._layout.users_lock, os.O_RDWR | os.O_CREAT, 0o600)
        keeper = os.open(self._layout.keeper_lock, os.O_RDWR | os.O_CREAT, 0o600)
        for _ in range(_TRIES):
            if try_exclusive(keeper):
                break
            # It may be somebody who only looks whether there is a keeper.
            time.sleep(_POLL_S)
        else:
            return
        self._prepare()
        # Another keeper, being killed, may have left its server behind.
        self._adopted = running_server(self._layout)
        if self._adopted is None:
            self._start()
        failures: list[float] = []
        while not try_exclusive(lock):
            if not self._runs():
                failures = [moment for moment in failures if time.monotonic() - moment < _CALM_S] + [time.monotonic()]
                if len(failures) > _RESTARTS:
                    self._layout.failed.touch()
                    raise SystemExit("the server ended too often; giving up")
                # Processes of the killed server let go of its shared memory when they notice, a moment later.
                time.sleep(0.2 * len(failures))
                self._start()
            time.sleep(_POLL_S)
        self._stop()

    def _prepare(self) -> None:
        check_cluster(self._layout)
        self._layout.failed.unlink(missing_ok=True)
        for folder in {self._layout.cluster, self._layout.socket}:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # A folder for the socket has a name that can be guessed, where everybody may write.
            owner = folder.lstat().st_uid
            if folder.is_symlink() or owner not in (os.geteuid(), self._account.pw_uid if self._account else os.geteuid()):
                raise SystemExit(f"{folder} belongs to somebody else")
            if self._account:
                os.chown(folder, self._account.pw_uid, self._account.pw_gid)
        if self._layout.initialising.exists() or not any(self._layout.cluster.iterdir()):
            self._initialise()

    def _initialise(self) -> None:
        # The mark says that what lies here was left by an initialisation that was killed half-way.
        self._layout.initialising.touch()
        for left_over in self._layout.cluster.iterdir():
            if left_over.is_dir() and not left_over.is_symlink():
                shutil.rmtree(left_over)
            else:
                left_over.unlink()
        command = [
            "initdb",
            "-D",
            self._here(),
            "-U",
            SUPERUSER,
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--data-checksums",
        ]
        try:
            status = self._spawn(command).wait(120)
        except subprocess.TimeoutExpired:
            raise SystemExit("initdb took too long") from None
        if status != 0:
            self._layout.failed.touch()
            raise SystemExit("initdb failed")
        self._layout.initialising.unlink()

    def _start(self) -> None:
        socket = "." if self._layout.socket == self._layout.cluster else str(self._layout.socket)
        settings = self._options | {"unix_socket_directories": socket}
        arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._process = self._spawn(["postgres", "-D", self._here(), *arguments])

    def _runs(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        return self._adopted is not None and running_server(self._layout) == self._adopted

    def _stop(self) -> None:
        """End every session and shut down; harder where that takes over a minute."""
        for number in (signal.SIGINT, signal.SIGQUIT):
            deadline = time.monotonic() + 60
            while self._runs() and time.monotonic() < deadline:
                pid = self._process.pid if self._process is not None else self._adopted
                # Sent again until it is heard: a server that has just begun does not listen for signals yet.
                if pid is not None:
                    os.kill(pid, number)
                until = time.monotonic() + 1
                while self._runs() and time.monotonic() < until:
                    time.sleep(_POLL_S / 5)

    def _here(self) -> str:
        return "/proc/self/cwd" if self._account else str(self._layout.cluster)

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        account: pwd.struct_passwd | None = self._account
        return subprocess.Popen(
            [str(self._bin_dir / command[0]), *command[1:]],
            cwd=self._layout.cluster,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            stdin=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
        )


def main(arguments: list[str]) -> None:
    data, bin_dir, *options = arguments
    Keeper(Path(data), Path(bin_dir), dict(option.split("=", 1) for option in options)).run()


if __name__ == "__main__":
    main(sys.argv[1:])
