"""The lines of an export: events, and rows in the order in which the events name them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from hashlib import sha256
from struct import error as StructError
from struct import iter_unpack
from typing import Any

from tallystick.tlog.decisions import loads
from tallystick.tlog.found import Verified

MAX_LINE_BYTES = 64 << 20
BAD = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError, StructError)
"""The errors in which reading something ends that is not as it has to be."""

_MAX_AHEAD = 10_000
_MOST_COLUMNS = 64


class Rows:
    """The rows of one kind, which stand in the order in which the events name them.

    Where the next one is not the one that was asked for, it is looked for further on, within bounds, so that one row or event
    that is missing does not make all that follow look wrong.
    """

    def __init__(self, kind: str, lines: Iterator[bytes], found: Verified) -> None:
        self.kind = kind
        self.lines = lines
        self.found = found
        self.ahead: deque[tuple[dict[str, Any], int]] = deque()
        self.ahead_bytes = 0
        self.ids: Counter[object] = Counter()

    def take(self, ref: str) -> dict[str, Any] | None:
        """The row with this id; those before it belong to no event."""
        if not self.ahead:
            line = next(self.lines, None)
            if line is None:
                return None
            try:
                row: dict[str, Any] = loads(line)
                if row["id"] == ref:
                    # As it is where nothing is wrong, and fast.
                    return row
            except BAD:
                pass
            self._push(row_of(line), len(line))
        if self.ahead[0][0]["id"] != ref:
            while len(self.ahead) < _MAX_AHEAD and self.ahead_bytes < MAX_LINE_BYTES and self._read():
                pass
            if not self.ids[ref]:
                return None
        while (row := self._pop())["id"] != ref:
            self._unasked(row)
        return row

    def end(self) -> None:
        """What was not asked for until now belongs to no event."""
        while self.ahead or self._read():
            self._unasked(self._pop())

    def _read(self) -> bool:
        line = next(self.lines, None)
        if line is None:
            return False
        self._push(row_of(line), len(line))
        return True

    def _push(self, row: dict[str, Any], length: int) -> None:
        self.ahead.append((row, length))
        self.ahead_bytes += length
        self.ids[row["id"]] += 1

    def _pop(self) -> dict[str, Any]:
        row, length = self.ahead.popleft()
        self.ahead_bytes -= length
        self.ids[row["id"]] -= 1
        if not self.ids[row["id"]]:
            del self.ids[row["id"]]
        return row

    def _unasked(self, row: dict[str, Any]) -> None:
        self.found.add("row_unasked", f"{self.kind} {row['id']}", "no event has its digest")


class Numbers:
    """A set of numbers that lie close together."""

    def __init__(self) -> None:
        self.pages: dict[int, bytearray] = {}

    def add(self, number: int) -> bool:
        """Whether the number is new."""
        page = self.pages.get(number >> 10)
        if page is None:
            page = self.pages[number >> 10] = bytearray(128)
        at, bit = (number >> 3) & 127, 1 << (number & 7)
        if page[at] & bit:
            return False
        page[at] |= bit
        return True


def sent_id(sent: bytes) -> int:
    """The first column, a bigint, of a row in PostgreSQL's binary form: count, then type, length and bytes of each."""
    if sent[4:12] != b"\x00\x00\x00\x14\x00\x00\x00\x08" or len(sent) < 20:
        raise ValueError("the row does not begin with a bigint")
    return int.from_bytes(sent[12:20], "big", signed=True)


def moved_by(sent: bytes, kind: str) -> tuple[str, list[str]] | None:
    """What a journal of a kind carried out, and the account that paid, the one that was paid and the amount; `None` for one of
    another kind, for one that takes another back, and for one that moved something else."""
    at, columns, count = 4, [], int.from_bytes(sent[:4], "big")
    if count > _MOST_COLUMNS:
        raise ValueError("a row of more columns than a journal has")
    for _ in range(count):
        length = int.from_bytes(sent[at + 4 : at + 8], "big", signed=True)
        at += 8
        columns.append(sent[at : at + length] if length >= 0 else None)
        at += max(0, length)
        if len(columns) == 2 and columns[1] != kind.encode():
            return None
    ref, reverses = columns[2], columns[7]
    entries = sorted(iter_unpack(">qqq", sent[at:]), key=lambda entry: entry[2])
    if ref is None or reverses is not None or len(entries) != 2:
        return None
    (debit, _, _), (credit, _, amount) = entries
    return str(int.from_bytes(ref, "big")), [str(debit), str(credit), str(amount)]


def is_entry(entry: dict[str, Any]) -> bool:
    return set(entry) == {"name", "sha256", "rows"} and all(isinstance(value, str) for value in entry.values())


def event_line(line: bytes, keys: set[str]) -> tuple[dict[str, Any], bytes, str]:
    """A line with an event: itself, the bytes of the leaf, and its index."""
    row = loads(line)
    index = row["index"]
    if not isinstance(index, str) or not row.keys() <= keys:
        raise ValueError("not the fields of an event")
    return row, row["leaf"].encode(), index


def commitment_of(salted: dict[str, str]) -> str:
    return sha256(bytes.fromhex(salted["salt"]) + salted["text"].encode()).hexdigest()


def row_of(line: bytes) -> dict[str, Any]:
    """The row in a line; one that is none has an id that nobody asks for."""
    try:
        row = loads(line)
        return row if isinstance(row["id"], str) else {"id": None}
    except BAD:
        return {"id": None}


def hash_of(text: str) -> bytes:
    found = bytes.fromhex(text)
    if len(found) != 32 or found.hex() != text:
        raise ValueError("a hash is 64 hexadecimal digits")
    return found


def number_of(text: str) -> int:
    found = int(text)
    if str(found) != text or not -1 <= found < 2**63:
        raise ValueError("a number is written in decimal digits")
    return found
