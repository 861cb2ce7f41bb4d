"""Sealing: all that is committed comes into the tree once, in an order that follows the commits, and what is signed stays."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tallystick import audit, tlog
from tallystick.db import SEALER, Database, Queries
from tallystick.kit import Conflict
from tests.conftest import TestDatabase
from tests.waiting import until

HASH = tlog.HASH_BYTES


@pytest.fixture
async def sealing(database: TestDatabase) -> AsyncIterator[Database]:
    opened = Database(database.owner_url, role=SEALER)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def keys(tmp_path: Path) -> tlog.KeyFolder:
    return tlog.KeyFolder(tmp_path / "keys")


@pytest.fixture
def owner(database: TestDatabase) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        yield connection


async def _tell(db: Database, count: int = 1, start: int = 0) -> list[int]:
    async with db.write() as tx:
        return await audit.append_many(
            tx, [audit.AuditEvent("me", "things.make", "thing", number) for number in range(start, start + count)]
        )


async def _drain(sealer: audit.Sealer) -> int:
    sealed = 0
    while count := await sealer.seal():
        sealed += count
    return sealed


def _leaves(owner: psycopg.Connection[Any]) -> list[tuple[int, int, bytes, str]]:
    return owner.execute(
        "select l.idx, l.event_id, l.hash, e.leaf from audit.leaf l join audit.event e on e.id = l.event_id order by l.idx"
    ).fetchall()


async def test_what_is_sealed_is_the_tree_of_the_leaves_in_order_and_its_root_is_signed(
    db: Database, sealing: Database, keys: tlog.KeyFolder, owner: psycopg.Connection[Any]
) -> None:
    sealer = audit.Sealer(sealing, keys, batch=300)
    for count in (1, 2, 253, 1, 700, 1):
        await _tell(db, count)
        assert await _drain(sealer) == count
        leaves = _leaves(owner)
        assert [idx for idx, *_ in leaves] == list(range(len(leaves)))
        assert [hash for _, _, hash, _ in leaves] == [tlog.leaf_hash(leaf.encode()) for *_, leaf in leaves]
        async with db.read() as tx:
            signed = await audit.checkpoint(tx)
        checkpoint = tlog.open_checkpoint(signed.note, keys.public())
        assert (checkpoint.size, checkpoint.root) == (len(leaves), tlog.root([hash for _, _, hash, _ in leaves]))
        assert (signed.size, signed.root) == (checkpoint.size, checkpoint.root)
        assert str(keys.last_checkpoint()) == signed.note
    assert owner.execute("select count(*) from audit.pending").fetchone() == (0,)


async def test_proofs_and_tiles_from_the_database_are_those_of_the_tree(
    db: Database, sealing: Database, keys: tlog.KeyFolder, owner: psycopg.Connection[Any]
) -> None:
    await _tell(db, 1000)
    await _drain(audit.Sealer(sealing, keys, batch=400))
    hashes = [hash for _, _, hash, _ in _leaves(owner)]
    chance = random.Random(1)
    async with db.read() as tx:
        for _ in range(40):
            size = chance.randint(1, 1000)
            root = tlog.root(hashes[:size])
            assert await audit.root_at(tx, size) == root
            index = chance.randrange(size)
            path = await audit.inclusion_proof(tx, index, size)
            assert tlog.check_inclusion(hashes[index], index, size, path, root)
            old = chance.randint(1, size)
            path = await audit.consistency_proof(tx, old, size)
            assert tlog.check_consistency(old=old, old_root=tlog.root(hashes[:old]), new=size, new_root=root, path=path)
        for tile in tlog.tiles_of(1000):
            found = await audit.tile(tx, tile)
            if tile.level == 0:
                assert found == b"".join(hashes[tile.n * 256 :][: tile.width])
            else:
                assert found == b"".join(tlog.root(hashes[n * 256 :][:256]) for n in range(tile.width))


async def test_an_event_that_commits_late_is_sealed_late_and_not_missed(
    db: Database, sealing: Database, keys: tlog.KeyFolder, owner: psycopg.Connection[Any]
) -> None:
    sealer = audit.Sealer(sealing, keys)
    async with db.write() as slow:
        (late,) = await audit.append_many(slow, [audit.AuditEvent("me", "things.make", "thing", 1)])
        (early,) = await _tell(db)
        assert late < early
        assert await _drain(sealer) == 1
    assert await _drain(sealer) == 1
    assert [event for _, event, _, _ in _leaves(owner)] == [early, late]


async def test_an_event_that_is_rolled_back_leaves_no_gap(
    db: Database, sealing: Database, keys: tlog.KeyFolder, owner: psycopg.Connection[Any]
) -> None:
    sealer = audit.Sealer(sealing, keys)
    await _tell(db)
    with pytest.raises(RuntimeError):
        async with db.write() as tx:
            await audit.append_many(tx, [audit.AuditEvent("me", "things.make", "thing", 1)])
            raise RuntimeError
    await _tell(db)
    assert await _drain(sealer) == 2
    assert [idx for idx, *_ in _leaves(owner)] == [0, 1]


async def test_of_sealers_that_run_at_once_one_seals_and_each_size_is_signed_once(
    db: Database, sealing: Database, keys: tlog.KeyFolder, owner: psycopg.Connection[Any]
) -> None:
    stop = asyncio.Event()
    running = [asyncio.create_task(audit.Sealer(sealing, keys, every_s=0.001, batch=7).run(stop)) for _ in range(4)]
    ids: list[int] = []
    for _ in range(40):
        ids += (await asyncio.gather(_tell(db, 3), _tell(db, 2)))[0]
    async with asyncio.timeout(60):
        while owner.execute("select exists (select from audit.pending)").fetchone() != (False,):
            await asyncio.sleep(0.01)
    stop.set()
    await asyncio.gather(*running)
    leaves = _leaves(owner)
    assert [idx for idx, *_ in leaves] == list(range(200))
    hashes = [hash for _, _, hash, _ in leaves]
    for size, root in owner.execute("select size, root from audit.checkpoint").fetchall():
        assert root == tlog.root(hashes[:size])


async def test_a_second_call_signs_nothing_new_and_a_sealer_that_starts_anew_goes_on(
    db: Database, sealing: Database, keys: tlog.KeyFolder
) -> None:
    await _tell(db, 5)
    assert await audit.Sealer(sealing, keys).seal() == 5
    async with db.read() as tx:
        first = await audit.checkpoint(tx)
    assert await audit.Sealer(sealing, keys).seal() == 0
    async with db.read() as tx:
        assert await audit.checkpoint(tx) == first
    await _tell(db, 1)
    assert await audit.Sealer(sealing, keys).seal() == 1


@asynccontextmanager
async def _refused(code: str) -> AsyncIterator[None]:
    with pytest.raises(Conflict) as caught:
        yield
    assert caught.value.code == code


async def test_a_restored_older_state_is_noticed_as_a_fork_until_a_new_origin_is_opened(
    db: Database, sealing: Database, keys: tlog.KeyFolder, owner: psycopg.Connection[Any]
) -> None:
    sealer = audit.Sealer(sealing, keys)
    await _tell(db, 5)
    await _drain(sealer)
    await _tell(db, 5, 5)
    await _drain(sealer)
    published = keys.last_checkpoint()
    # As a backup has it that was made after the first five.
    owner.execute("set session_replication_role = replica")
    owner.execute("delete from audit.leaf where idx >= 5")
    owner.execute("delete from audit.event where id > 5")
    owner.execute("delete from audit.checkpoint where size > 5")
    await _tell(db, 1)
    async with _refused("record_forked"):
        await sealer.seal()
    # Not even when it has grown past what was signed.
    await _tell(db, 20)
    async with _refused("record_forked"):
        await audit.Sealer(sealing, keys).seal()
    assert owner.execute("select max(size) from audit.checkpoint").fetchone() == (5,)
    opened = await sealer.reopen("cli:anna")
    assert (opened.n, opened.follows) == (2, str(published))
    await _drain(sealer)
    async with db.read() as tx:
        signed = await audit.checkpoint(tx)
        told = await audit.latest(tx, subject_kind="origin", subject_id=2)
    assert told is not None
    assert told.verb == "record.reopen"
    assert published is not None
    assert told.detail["follows"] == published.text
    checkpoint = tlog.open_checkpoint(signed.note, keys.public())
    assert (checkpoint.origin, checkpoint.size) == (opened.name, 27)
    await _tell(db)
    await _drain(sealer)


async def test_a_tree_that_was_written_anew_is_not_signed(
    db: Database, sealing: Database, keys: tlog.KeyFolder, owner: psycopg.Connection[Any]
) -> None:
    await _tell(db, 5)
    await _drain(audit.Sealer(sealing, keys))
    owner.execute("set session_replication_role = replica")
    owner.execute("update audit.leaf set hash = sha256('another') where idx = 2")
    owner.execute("delete from audit.checkpoint")
    await _tell(db)
    async with _refused("record_forked"):
        await audit.Sealer(sealing, keys).seal()


async def test_who_has_not_the_origins_key_leaves_sealing_to_others(
    db: Database, sealing: Database, keys: tlog.KeyFolder, tmp_path: Path
) -> None:
    await _tell(db, 5)
    await _drain(audit.Sealer(sealing, keys))
    await _tell(db, 5)
    other = tlog.KeyFolder(tmp_path / "others")
    async with _refused("no_signing_key"):
        await audit.Sealer(sealing, other).seal()
    assert not other.public()


async def test_both_keys_sign_after_a_rotation_and_one_after_the_other_is_retired(
    db: Database, sealing: Database, keys: tlog.KeyFolder
) -> None:
    sealer = audit.Sealer(sealing, keys)
    await _tell(db)
    await _drain(sealer)
    async with db.read() as tx:
        origin = await audit.origin(tx)
    assert origin is not None
    (old,) = keys.public()
    new = keys.rotate(origin.name).verifier
    signers = []
    for retired in (False, True):
        if retired:
            keys.retire(origin.name, old.id)
        await _tell(db)
        await _drain(sealer)
        async with db.read() as tx:
            note = tlog.Note.parse((await audit.checkpoint(tx)).note)
        signers.append({key.id for key in note.verified_by(keys.public())})
    assert signers == [{old.id, new.id}, {new.id}]


@pytest.mark.parametrize(
    "statement",
    [
        "insert into audit.event (id, at, principal, verb, subject_kind, leaf) values (1, now(), 'a', 'b', 'c', '{}')",
        "insert into audit.leaf values (0, 1, sha256('a'))",
        "insert into audit.checkpoint values (1, 1, sha256('a'), 'a')",
        "insert into audit.origin values (1, 'a', null)",
        "delete from audit.pending",
    ],
)
async def test_the_application_neither_writes_leaves_nor_seals(database: TestDatabase, statement: str) -> None:
    with psycopg.connect(database.app_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())


async def test_how_far_sealing_is_behind_is_known(db: Database, sealing: Database, keys: tlog.KeyFolder) -> None:
    sealer = audit.Sealer(sealing, keys)
    await _tell(db, 3)
    await _drain(sealer)
    await _tell(db, 2)
    async with db.read() as tx:
        lag = await audit.lag(tx)
    assert (lag.size, lag.pending, lag.signed) == (3, 2, 3)
    assert lag.oldest_s is not None
    assert lag.oldest_s >= 0
    await _drain(sealer)
    async with db.read() as tx:
        lag = await audit.lag(tx)
    assert (lag.size, lag.pending, lag.oldest_s, lag.signed) == (5, 0, None, 5)


async def test_while_sealing_is_behind_that_is_logged_and_when_it_has_caught_up(
    db: Database, sealing: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await _tell(db, 2)
    stop = asyncio.Event()

    async def told(what: str) -> bool:
        return what in caplog.text

    async with sealing.write() as tx:
        # Whoever seals at this moment takes its time.
        assert await tx.single(Queries("tallystick.audit").bind("sealers_turn", bool))
        sealer = audit.Sealer(sealing, tlog.KeyFolder(tmp_path / "keys"), every_s=0.01, max_lag_s=0.001)
        running = asyncio.create_task(sealer.run(stop))
        await until(lambda: told("s behind, 2 events wait"))
        assert "caught up" not in caplog.text
    await until(lambda: told("sealing has caught up"))
    stop.set()
    await running
    assert caplog.text.count("2 events wait") == 1
