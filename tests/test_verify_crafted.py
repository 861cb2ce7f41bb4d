"""Exports that somebody wrote to stop the verifier: it says what is wrong, and ends."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tallystick import tlog
from tests.test_verify_meaning import Bank, bank, verified
from tests.tlog_exports import packed

__all__ = ["bank"]
Row = dict[str, Any]
_TRANSFER = b"transfer".hex()


def _column(data: str) -> str:
    return "00000019" + len(bytes.fromhex(data)).to_bytes(4, "big").hex() + data


def _sent(columns: int, rest: str = "") -> Callable[[Row], Row]:
    """A journal whose row claims so many columns, and has two."""
    return lambda row: {
        "id": row["id"],
        "sent": columns.to_bytes(4, "big").hex() + "0000001400000008" + int(row["id"]).to_bytes(8, "big").hex()
        + _column(_TRANSFER) + rest,
    }  # fmt: skip


CRAFTED: dict[str, tuple[str, Callable[[Row], Row]]] = {
    "no digests": ("transfer", lambda row: {**row, "digests": []}),
    "digests that are none": ("transfer", lambda row: {**row, "digests": None}),
    "a transfer that is a number": ("action", lambda row: {**row, "transfers": [5]}),
    "no digests of an action": ("action", lambda row: {**row, "digests": []}),
    "few columns": ("journal", _sent(2)),
    "four billion columns": ("journal", _sent(2**32 - 1)),
    "entries cut off": ("journal", _sent(8, "00000014ffffffff" * 6 + "000000")),
}


@pytest.mark.parametrize("name", CRAFTED)
async def test_a_crafted_row_is_named_and_the_verifier_ends(bank: Bank, tmp_path: Path, name: str) -> None:
    assert await bank.exported() == {}
    kind, craft = CRAFTED[name]
    with zipfile.ZipFile(bank.folder / "export.zip") as archive:
        files = {each: archive.read(each) for each in archive.namelist()}
    there = [each for each in (f"rows/{kind}.jsonl", "events.jsonl") if each in files]
    for each in there[:1]:
        rows = [json.loads(line) for line in files[each].splitlines()]
        files[each] = b"".join(tlog_line(craft(row)) for row in rows)
    path = tmp_path / "crafted.zip"
    path.write_bytes(packed(files))
    found = {code for code, _ in verified(path, bank.keys)}
    assert found, "it is not what was exported"
    assert "manifest_malformed" not in found


def tlog_line(row: Row) -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode() + b"\n"


def test_the_columns_of_a_journal_are_bounded() -> None:
    with pytest.raises(ValueError, match="columns"):
        tlog.lines.moved_by((2**32 - 1).to_bytes(4, "big"), "transfer")
