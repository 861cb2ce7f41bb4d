"""Paths and contents of tiles as C2SP tlog-tiles has them: hashes in tiles of 256, entries in bundles of 256."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tallystick.tlog.tree import TILE_WIDTH

MAX_ENTRY_BYTES = 2**16 - 1

_PATH = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile: the `n`-th of `level`, or of the entries where `level` is None, with `width` of its 256 hashes or entries."""

    level: int | None
    n: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if self.level is not None and not 0 <= self.level <= 63:
            raise ValueError(f"a tile has a level from 0 to 63, not {self.level}")
        if self.n < 0 or not 1 <= self.width <= TILE_WIDTH:
            raise ValueError(f"a tile has a number from 0 on and a width from 1 to {TILE_WIDTH}")

    @property
    def path(self) -> str:
        """Such as `tile/0/x001/234.p/5`."""
        groups = [f"{self.n % 1000:03}"]
        rest = self.n // 1000
        while rest:
            groups.append(f"x{rest % 1000:03}")
            rest //= 1000
        level = "entries" if self.level is None else str(self.level)
        part = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{'/'.join(reversed(groups))}{part}"

    @classmethod
    def parse(cls, path: str) -> Tile | None:
        """The tile that a path names; None where it names none, or names one in another way than `path` writes it."""
        match = _PATH.fullmatch(path)
        if not match or len(path) > 64:
            return None
        level, number, width = match.groups()
        n = int(number.replace("x", "").replace("/", ""))
        if (level != "entries" and int(level) > 63) or int(width or 1) >= TILE_WIDTH:
            return None
        found = cls(None if level == "entries" else int(level), n, int(width) if width else TILE_WIDTH)
        return found if found.path == path else None

    def stands(self, size: int) -> bool:
        """Whether a tree of `size` leaves has all hashes or entries of this tile."""
        return self.n * TILE_WIDTH + self.width <= size >> (8 * (self.level or 0))


def tiles_of(size: int) -> Iterator[Tile]:
    """All hash tiles of the tree of `size` leaves, full ones and on each level at most one that is not."""
    level = 0
    while hashes := size >> (8 * level):
        for n in range(hashes // TILE_WIDTH):
            yield Tile(level, n)
        if hashes % TILE_WIDTH:
            yield Tile(level, hashes // TILE_WIDTH, hashes % TILE_WIDTH)
        level += 1


def write_entries(entries: Iterable[bytes]) -> bytes:
    """A bundle: each entry after its length (two bytes, big-endian)."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise ValueError(f"an entry may have {MAX_ENTRY_BYTES} bytes, not {len(entry)}")
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def read_entries(bundle: bytes) -> list[bytes]:
    """The entries of a bundle. Refuses one that ends within an entry (`ValueError`)."""
    found = []
    at = 0
    while at < len(bundle):
        begin = at + 2
        at = begin + int.from_bytes(bundle[at:begin], "big")
        if at > len(bundle) or begin > len(bundle):
            raise ValueError("a bundle of entries ends within an entry")
        found.append(bundle[begin:at])
    return found
