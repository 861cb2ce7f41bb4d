"""Merkle trees of RFC 6962 (SHA-256), kept as the tiles of C2SP tlog-tiles: hashes, roots, proofs and their checks.

A tile holds up to 256 hashes. Hash `i` of tile `n` on level `l` is the root of the 256**l leaves that begin with leaf
`(n * 256 + i) * 256**l`, and stands there once all of these leaves do. A tree of millions of leaves is asked for a handful of
tiles, by a reader that gets the level and the number of a tile and returns its hashes, one after another. Which tiles that
will be is told beforehand by `inclusion_tiles`, `consistency_tiles` and `edge_tiles`, so that a caller can fetch them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256

HASH_BYTES = 32
TILE_WIDTH = 256
MAX_SIZE = 2**63 - 1
EMPTY_ROOT = sha256(b"").digest()

ReadTile = Callable[[int, int], bytes]
"""Level and number of a tile to its hashes; it may hold more than the tree of the moment has."""

_TILE_HEIGHT = 8


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf: SHA-256(0x00 || data)."""
    return sha256(b"\x00" + data).digest()


def leaf_hashes(leaves: Iterable[bytes]) -> list[bytes]:
    """The hashes of many leaves."""
    return [sha256(b"\x00" + leaf).digest() for leaf in leaves]


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash over two subtrees: SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def root(hashes: Sequence[bytes]) -> bytes:
    """The root over leaf hashes; of none, SHA-256 of nothing."""
    if not hashes:
        return EMPTY_ROOT
    if len(hashes) == 2:
        return sha256(b"\x01" + hashes[0] + hashes[1]).digest()
    row = hashes
    while len(row) > 1:
        pairs = iter(row)
        above = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=False)]
        if len(row) % 2:
            above.append(row[-1])
        row = above
    return row[0]


class Frontier:
    """The right edge of a tree that grows: the roots of its maximal full subtrees, from the largest to the smallest.

    That is all one needs to add leaves and to know the root (a "compact range" from leaf 0). `size` bits that are set say how
    many hashes there are.
    """

    __slots__ = ("hashes", "size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self.hashes = list(hashes)
        if not 0 <= size <= MAX_SIZE or len(self.hashes) != size.bit_count() or any(len(h) != HASH_BYTES for h in self.hashes):
            raise ValueError(f"a tree of {size} leaves does not end in these {len(self.hashes)} hashes")

    @classmethod
    def read(cls, size: int, tile: ReadTile) -> Frontier:
        """The edge of the tree of `size` leaves, from the tiles of `edge_tiles(size)`."""
        return cls(size, [_subtree(height, n, tile) for height, n in subtrees(0, size)])

    def push(self, height: int, subtree: bytes) -> None:
        """Add the root of 2**height leaves; the leaves before must be a multiple of as many."""
        if self.size & ((1 << height) - 1) or self.size + (1 << height) > MAX_SIZE:
            raise ValueError(f"a subtree of 2**{height} leaves cannot stand after {self.size}")
        merges = (self.size >> height) + 1
        while merges & 1 == 0:
            subtree = node_hash(self.hashes.pop(), subtree)
            merges >>= 1
        self.hashes.append(subtree)
        self.size += 1 << height

    def extend(self, hashes: Sequence[bytes]) -> None:
        """Add leaf hashes."""
        at = 0
        while at < len(hashes):
            if self.size % TILE_WIDTH == 0 and len(hashes) - at >= TILE_WIDTH:
                self.push(_TILE_HEIGHT, root(hashes[at : at + TILE_WIDTH]))
                at += TILE_WIDTH
            else:
                self.push(0, hashes[at])
                at += 1

    def root(self) -> bytes:
        """The root of the tree as it is now."""
        if not self.hashes:
            return EMPTY_ROOT
        found = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            found = node_hash(left, found)
        return found


def subtrees(begin: int, end: int) -> list[tuple[int, int]]:
    """The maximal full subtrees that make up the leaves from `begin` up to, not including, `end`, from left to right.

    Each as its height and its number among those of this height: `(h, n)` has the leaves from `n * 2**h` on.
    """
    if not 0 <= begin <= end <= MAX_SIZE:
        raise ValueError(f"no range of leaves: {begin} to {end}")
    found = []
    while begin < end:
        height = (end - begin).bit_length() - 1
        if begin:
            height = min(height, (begin & -begin).bit_length() - 1)
        found.append((height, begin >> height))
        begin += 1 << height
    return found


def range_hashes(begin: int, end: int, tile: ReadTile) -> list[bytes]:
    """The roots of `subtrees(begin, end)`, from the tiles of `range_tiles(begin, end)`."""
    return [_subtree(height, n, tile) for height, n in subtrees(begin, end)]


def tree_root(size: int, tile: ReadTile) -> bytes:
    """The root of the tree of `size` leaves, from the tiles of `edge_tiles(size)`."""
    return Frontier.read(size, tile).root()


def inclusion_proof(index: int, size: int, tile: ReadTile) -> list[bytes]:
    """The audit path of leaf `index` in the tree of `size` leaves (RFC 6962, 2.1.1)."""
    return [_range_root(begin, end, tile) for begin, end in _inclusion_ranges(index, size)]


def consistency_proof(old: int, new: int, tile: ReadTile) -> list[bytes]:
    """The proof that the tree of `new` leaves continues the one of `old` (RFC 6962, 2.1.2)."""
    return [_range_root(begin, end, tile) for begin, end in _consistency_ranges(old, new)]


def inclusion_tiles(index: int, size: int) -> list[tuple[int, int]]:
    """The tiles (level, number) that `inclusion_proof` reads."""
    return _tiles(_inclusion_ranges(index, size))


def consistency_tiles(old: int, new: int) -> list[tuple[int, int]]:
    """The tiles (level, number) that `consistency_proof` reads."""
    return _tiles(_consistency_ranges(old, new))


def range_tiles(begin: int, end: int) -> list[tuple[int, int]]:
    """The tiles (level, number) that `range_hashes` reads."""
    return _tiles([(begin, end)])


def edge_tiles(size: int) -> list[tuple[int, int]]:
    """The tiles (level, number) on the right edge of a tree: those that its root and its growth need."""
    return [(level, n) for level, n, _ in _partial_tiles(size)]


def grown(size: int, hashes: Sequence[bytes], tile: ReadTile) -> list[tuple[int, int, bytes]]:
    """The nodes that stand once leaf hashes were added to a tree of `size` leaves, as (level, number, hash), levels from 1 on.

    Node `n` of level `l` is the root of the 256**l leaves from `n * 256**l` on. Reads tiles of `edge_tiles(size)`.
    """
    partial = {level: tile(level, n)[: width * HASH_BYTES] for level, n, width in _partial_tiles(size)}
    found: list[tuple[int, int, bytes]] = []
    level, row = 0, list(hashes)
    while row:
        before = _split(partial.get(level, b""))
        first = size >> (_TILE_HEIGHT * (level + 1))
        row = before + row
        full = len(row) // TILE_WIDTH
        row = [root(row[i * TILE_WIDTH : (i + 1) * TILE_WIDTH]) for i in range(full)]
        level += 1
        found.extend((level, first + i, node) for i, node in enumerate(row))
    return found


def check_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], expected: bytes) -> bool:
    """Whether `path` shows that the leaf with hash `leaf` stands at `index` in the tree with that root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, found = index, size - 1, leaf
    for step in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = node_hash(step, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, step)
        at, last = at >> 1, last >> 1
    return last == 0 and found == expected


def check_consistency(*, old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether `path` shows that the tree of `new` leaves continues the one of `old` (RFC 9162, 2.1.4.2)."""
    if not 0 <= old <= new:
        return False
    if old in {0, new}:
        return not path and old_root == (new_root if old == new else EMPTY_ROOT)
    steps = iter(path if old & (old - 1) else (old_root, *path))
    first = next(steps, None)
    if first is None:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    of_old = of_new = first
    for step in steps:
        if last == 0:
            return False
        if at & 1 or at == last:
            of_old, of_new = node_hash(step, of_old), node_hash(step, of_new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            of_new = node_hash(of_new, step)
        at, last = at >> 1, last >> 1
    return last == 0 and of_old == old_root and of_new == new_root


def _inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    found = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _half(end - begin)
        if index < middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((begin, middle))
            begin = middle
    return found[::-1]


def _consistency_ranges(old: int, new: int) -> list[tuple[int, int]]:
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves does not continue one of {old}")
    if old in {0, new}:
        return []
    found = []
    begin, end = 0, new
    while end != old:
        middle = begin + _half(end - begin)
        if old <= middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((begin, middle))
            begin = middle
    # The whole old tree is a subtree of the new: who checks knows its root.
    return ([(begin, end)] if begin else []) + found[::-1]


def _half(width: int) -> int:
    return 1 << ((width - 1).bit_length() - 1)


def _range_root(begin: int, end: int, tile: ReadTile) -> bytes:
    found = b""
    for height, n in reversed(subtrees(begin, end)):
        left = _subtree(height, n, tile)
        found = node_hash(left, found) if found else left
    return found


def _subtree(height: int, n: int, tile: ReadTile) -> bytes:
    level, below = divmod(height, _TILE_HEIGHT)
    at = (n << below) % TILE_WIDTH
    number = (n << below) // TILE_WIDTH
    hashes = tile(level, number)[at * HASH_BYTES : (at + (1 << below)) * HASH_BYTES]
    if len(hashes) != HASH_BYTES << below:
        raise ValueError(f"tile {number} of level {level} ends before hash {at + (1 << below)}")
    return root(_split(hashes))


def _tiles(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    return sorted({_tile_of(height, n) for begin, end in ranges for height, n in subtrees(begin, end)})


def _tile_of(height: int, n: int) -> tuple[int, int]:
    level, below = divmod(height, _TILE_HEIGHT)
    return level, (n << below) // TILE_WIDTH


def _partial_tiles(size: int) -> Iterator[tuple[int, int, int]]:
    level = 0
    while width := size >> (_TILE_HEIGHT * level):
        if width % TILE_WIDTH:
            yield level, width // TILE_WIDTH, width % TILE_WIDTH
        level += 1


def _split(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
