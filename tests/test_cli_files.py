"""Files that commands write and read: what cannot be written or read is one line with a code, before anything is begun."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.command_line import command
from tests.conftest import TestDatabase

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


@pytest.mark.parametrize("place", ["folder", "folder/nowhere/x.zip", "folder/file/x.zip", "/dev/null"])
def test_an_export_that_cannot_be_written_is_refused_before_any_work(
    database: TestDatabase, tmp_path: Path, place: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    # There is no database, so what is told of the file is told first.
    away = dataclasses.replace(database, app_url=NOWHERE)
    refused = command(away, "export", str(tmp_path / place))
    assert (refused.exit_code, "[file_not_written]" in refused.stderr) == (1, True), refused.output
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "file"]


def test_an_export_whose_end_is_before_its_beginning_is_refused(database: TestDatabase, tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    refused = command(database, "export", str(file), "--from", "2026-02-01", "--to", "2026-01-31T23:59:59Z")
    assert (refused.exit_code, "[period_malformed]" in refused.stderr, file.exists()) == (1, True, False), refused.output


def test_a_checkpoint_is_not_published_into_a_file(database: TestDatabase, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = command(database, "checkpoint", "publish", str(tmp_path / "file"))
    assert (refused.exit_code, "[file_not_written]" in refused.stderr) == (1, True), refused.output
