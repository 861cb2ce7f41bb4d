"""The pool: bounded waits, clear refusals, the application's role, retries, and a server that goes away."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest

from tallystick import audit
from tallystick.db import Database, DatabaseSettings, EmbeddedServer, Query, Tx
from tallystick.kit import Unavailable
from tests.conftest import TestDatabase, bin_dir
from tests.processes import kill, postmaster
from tests.waiting import until

DEBIAN = Path("/usr/lib/postgresql/15/bin")


def _value(sql: str) -> Query[str]:
    return Query("test", sql.encode(), str)


async def test_every_connection_runs_as_the_application_even_for_a_superuser(database: TestDatabase) -> None:
    db = Database(database.owner_url)
    await db.open()
    async with db.read() as tx:
        assert await tx.single(_value("select current_user::text")) == "tallystick_app"
    await db.close()


async def test_a_full_pool_refuses_in_bounded_time(database: TestDatabase) -> None:
    db = Database(database.app_url, DatabaseSettings(pool_max_size=1, pool_wait_s=0.2))
    await db.open()
    async with db.read():
        with pytest.raises(Unavailable, match="database_busy"):
            async with db.read():
                raise AssertionError("there is one connection and it is taken")
    await db.close()


async def test_a_long_statement_is_ended(database: TestDatabase) -> None:
    db = Database(database.app_url, DatabaseSettings(statement_timeout_ms=100))
    await db.open()
    with pytest.raises(Unavailable, match="timeout"):
        async with db.read() as tx:
            await tx.single(_value("select pg_sleep(60)::text"))
    await db.close()


async def test_a_session_that_was_idle_in_a_transaction_for_too_long_is_a_lost_one(database: TestDatabase) -> None:
    db = Database(database.app_url, DatabaseSettings(idle_in_transaction_timeout_ms=100))
    await db.open()
    try:
        with psycopg.connect(database.owner_url, autocommit=True) as owner, pytest.raises(Unavailable, match="_unavailable"):
            async with db.write() as tx:
                pid = await tx.single(_value("select pg_backend_pid()::text"))

                async def ended() -> bool:
                    return owner.execute("select from pg_stat_activity where pid = %s", (pid,)).fetchone() is None

                await until(ended)
                await tx.single(_value("select 'the answer to this says why'"))
        await db.ping()
    finally:
        await db.close()


async def test_a_row_lock_is_awaited_for_a_bounded_time_and_the_work_is_tried_again(database: TestDatabase) -> None:
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        owner.execute("create table public.t as select 1 as id")
        owner.execute("grant all on public.t to tallystick_app")
    db = Database(database.app_url, DatabaseSettings(lock_timeout_ms=50))
    await db.open()
    tries = 0
    holder = psycopg.connect(database.owner_url)
    holder.execute("update public.t set id = 2")

    async def work(tx: Tx) -> None:
        nonlocal tries
        tries += 1
        if tries == 3:
            await asyncio.to_thread(holder.rollback)
        await tx.run(_value("update public.t set id = 3"))

    await db.retrying(work)
    assert tries == 3
    holder.close()
    await db.close()


async def test_a_raise_rolls_back(db: Database) -> None:
    insert = "insert into memory.event (agent, type, payload, created_by) values ('a', 'b', '{}', 'c')"
    with pytest.raises(ZeroDivisionError):
        async with db.write() as tx:
            await tx.run(_value(insert))
            raise ZeroDivisionError
    async with db.read() as tx:
        assert await tx.single(_value("select count(*)::text from memory.event")) == "0"


async def test_a_snapshot_streams_and_does_not_write(db: Database) -> None:
    async with db.snapshot() as tx:
        rows = [row async for row in tx.stream(_value("select g::text from generate_series(1, 1000) g"), batch=100)]
        assert len(rows) == 1000
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await tx.all(
                _value("insert into memory.event (agent, type, payload, created_by) values ('a', 'b', '{}', 'c') returning ''")
            )


async def test_of_several_hosts_the_one_that_answers_is_used(database: TestDatabase, tmp_path: Path) -> None:
    here = dict(word.split("=", 1) for word in database.app_url.split())
    url = f"host={tmp_path},{here['host']} port=5432,{here['port']} user={here['user']} dbname={here['dbname']}"
    db = Database(url)
    await db.open()
    await db.ping()
    await db.close()


@pytest.mark.faults
async def test_a_lost_server_is_reported_and_survived() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        data = Path(folder).resolve() / "data"
        with EmbeddedServer(data, bin_dir=bin_dir()) as server:
            with psycopg.connect(server.url, autocommit=True) as connection:
                connection.execute("do $$ begin create role tallystick_app login; exception when duplicate_object then end $$")
            db = Database(server.url_as("tallystick_app"))
            await db.open()
            await db.ping()
            kill(postmaster(data))
            refused = 0
            for _ in range(600):
                try:
                    await db.ping()
                    break
                except Unavailable:
                    refused += 1
                    await asyncio.sleep(0.1)
            else:
                pytest.fail("the pool did not find the server again")
            await db.close()


@pytest.mark.faults
@pytest.mark.skipif(not DEBIAN.exists(), reason="the bundled PostgreSQL is built without TLS, and no other is installed")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
async def test_tls_is_used_where_the_url_asks_for_it() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        root.chmod(0o755)
        key, certificate = root / "key.pem", root / "certificate.pem"
        command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
        subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
        data = root / "data"
        with EmbeddedServer(data, bin_dir=DEBIAN):
            pass
        for source in (key, certificate):
            target = shutil.copy(source, data / "postgres")
            owner = (data / "postgres").stat()
            shutil.chown(target, owner.st_uid, owner.st_gid)
            Path(target).chmod(0o600)
        port = _free_port()
        options = (
            f"port={port}",
            "listen_addresses=localhost",
            "ssl=on",
            "ssl_key_file=key.pem",
            "ssl_cert_file=certificate.pem",
        )
        with EmbeddedServer(data, bin_dir=DEBIAN, options=options) as server:
            with psycopg.connect(server.url, autocommit=True) as connection:
                connection.execute("create role tallystick_app login")
            login = f"host=localhost port={port} user=tallystick_app dbname=tallystick"
            url = f"{login} sslmode=verify-full sslrootcert={certificate}"
            db = Database(url)
            await db.open()
            async with db.read() as tx:
                assert await tx.single(_value("select version from pg_stat_ssl where pid = pg_backend_pid()")) == "TLSv1.3"
            await db.close()
            untrusted = Database(url.replace(str(certificate), str(root / "missing.pem")))
            with pytest.raises(Unavailable):
                await untrusted.open(wait_s=2)
            await untrusted.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_what_is_undone_takes_its_decision_and_its_events_with_it(db: Database) -> None:
    async def tell(tx: Tx) -> None:
        await audit.append(tx, principal="me", verb="things.make", subject_kind="thing")

    async with db.write() as tx:
        await tell(tx)
        tx.decision = 1
        with pytest.raises(ZeroDivisionError):
            async with tx.part():
                await tell(tx)
                tx.decision = 2
                assert [one.event for one in tx.told] == ["1", "2"]
                raise ZeroDivisionError
        async with tx.rehearsal():
            await tell(tx)
            tx.decision = 3
        assert ([one.event for one in tx.told], tx.decision) == (["1"], 1)
