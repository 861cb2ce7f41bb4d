"""What was erased is in no export that is made afterwards, and such an export verifies."""

from __future__ import annotations

import zipfile
from pathlib import Path

from tallystick import audit, tlog
from tallystick.cli.record import SOURCES
from tallystick.db import Database
from tests.erasing import NAME, OTHER, Markers, add_customer, erase, keep_nothing, owner, owning, sealer

__all__ = ["owner", "owning", "sealer"]


def _content(export: Path) -> bytes:
    with zipfile.ZipFile(export) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())


async def test_an_export_after_an_erasure_holds_nothing_of_the_subject_and_verifies(
    db: Database,
    owning: Database,
    owner: object,
    sealer: audit.Sealer,
    tmp_path: Path,
) -> None:
    marks, others = Markers(), Markers()
    await add_customer(db, NAME, marks)
    await add_customer(db, OTHER, others)
    while await sealer.seal():
        pass
    keys = tlog.KeyFolder(tmp_path / "keys").public()

    async def exported(name: str) -> Path:
        while await sealer.seal():
            pass
        async with db.snapshot() as tx:
            await audit.export(tx, tmp_path / name, keys, SOURCES)
        return tmp_path / name

    before = await exported("before.zip")
    found = tlog.verify_export(before, keys=keys)
    assert (found.findings, found.erased) == ([], 0)
    held = [mark for mark in marks.made if mark.encode() in _content(before)]
    assert held
    keep_nothing(owner)  # type: ignore[arg-type]
    await erase(owning)
    after = await exported("after.zip")
    content = _content(after)
    assert [mark for mark in marks.made if mark.encode() in content] == []
    assert [mark for mark in others.made if mark.encode() in content]
    found = tlog.verify_export(after, keys=keys)
    assert found.findings == []
    assert found.erased > 0
