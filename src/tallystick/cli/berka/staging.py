"""Rows on disk between the passes, so that memory stays bounded however large the bank is.

Rows are packed into records of one length. `Staging` sorts them outside memory: sorted runs in one nameless temporary file,
merged as they are read. `OrderedRows` keeps what the first pass decided for the second and third. The files have no name, so
nothing is left behind, even by a kill.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from heapq import merge

from tallystick.cli.berka.model import Ordered, Row

_ROW = struct.Struct(">IHQqqB2sHI")
_ORDERED = struct.Struct(f">{_ROW.size}sb?")
_RUN = 100_000
_READ = 2_000
_NO_BANK = b"\0\0"
MAX_FILES = 65_535


class Staging:
    """Takes rows in any order and gives them back by account, day and transaction number."""

    def __init__(self, run: int = _RUN) -> None:
        """`run` is how many rows are sorted in memory at a time."""
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._run = run
        self._records: list[bytes] = []
        self._runs: list[int] = []
        self.rows = 0

    def add(self, row: Row) -> None:
        self._records.append(_pack(row))
        self.rows += 1
        if len(self._records) >= self._run:
            self._flush()

    def sorted(self) -> Iterator[Row]:
        """Every row, once; the order of equal keys does not matter, as transaction numbers are unique."""
        self._flush()
        self._file.flush()
        start = 0
        streams = []
        for end in self._runs:
            streams.append(_records(self._file.fileno(), start, end, _ROW.size))
            start = end
        # Records begin with their key, most significant byte first, so that they sort as bytes.
        return map(_unpack, merge(*streams))

    def close(self) -> None:
        self._file.close()

    def _flush(self) -> None:
        if not self._records:
            return
        self._records.sort()
        self._file.write(b"".join(self._records))
        self._records.clear()
        self._runs.append(self._file.tell())


class OrderedRows:
    """Rows in the order in which they are posted: written once, read as often as needed."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self.rows = 0

    def add(self, ordered: Ordered) -> None:
        self._file.write(_ORDERED.pack(_pack(ordered.row), ordered.rounding, ordered.known))
        self.rows += 1

    def __iter__(self) -> Iterator[Ordered]:
        self._file.flush()
        for record in _records(self._file.fileno(), 0, self.rows * _ORDERED.size, _ORDERED.size):
            row, rounding, known = _ORDERED.unpack(record)
            yield Ordered(_unpack(row), rounding, known)

    def close(self) -> None:
        self._file.close()


class SeenNumbers:
    """Which numbers were seen: a page of 1,024 bits for each thousand in which there is one."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def add(self, number: int) -> bool:
        """Note a number; whether it is new."""
        page = self._pages.get(number >> 10)
        if page is None:
            page = self._pages[number >> 10] = bytearray(128)
        place, bit = number >> 3 & 127, 1 << (number & 7)
        if page[place] & bit:
            return False
        page[place] |= bit
        return True


def _pack(row: Row) -> bytes:
    account_id, day, trans_id, amount, balance, code, bank, file, line = row
    return _ROW.pack(account_id, day, trans_id, amount, balance, code, bank.encode() or _NO_BANK, file, line)


def _unpack(record: bytes) -> Row:
    account_id, day, trans_id, amount, balance, code, bank, file, line = _ROW.unpack(record)
    return Row(account_id, day, trans_id, amount, balance, code, "" if bank == _NO_BANK else bank.decode(), file, line)


def _records(descriptor: int, start: int, end: int, size: int) -> Iterator[bytes]:
    """The records between two offsets of a file, read a few thousand at a time."""
    while start < end:
        block = os.pread(descriptor, min(end - start, _READ * size), start)
        if len(block) < size:
            raise OSError("a temporary file ends too early")
        whole = len(block) - len(block) % size
        for offset in range(0, whole, size):
            yield block[offset : offset + size]
        start += whole
