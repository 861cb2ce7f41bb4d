"""What shows that an event is in the record, and that the record only grows: roots, proofs and tiles, from the database."""

from __future__ import annotations

from collections.abc import Sequence

from tallystick import tlog
from tallystick.audit import store
from tallystick.audit.model import Lag, Origin, SignedCheckpoint
from tallystick.db import ReadTx
from tallystick.kit import Invalid, NotFound

_MAX_LEVEL = 7


async def root_at(tx: ReadTx, size: int) -> bytes:
    """The root of the first `size` leaves, which are there."""
    return tlog.tree_root(size, await reader(tx, tlog.edge_tiles(size)))


async def inclusion_proof(tx: ReadTx, index: int, size: int) -> list[bytes]:
    """The audit path of a leaf in the tree of `size` leaves. Refuses with `NotFound` (`unknown_leaf`, `unknown_size`)."""
    await _check_size(tx, size)
    if not 0 <= index < size:
        raise NotFound("unknown_leaf", f"a tree of {size} leaves has none with the index {index}")
    return tlog.inclusion_proof(index, size, await reader(tx, tlog.inclusion_tiles(index, size)))


async def consistency_proof(tx: ReadTx, old: int, new: int) -> list[bytes]:
    """The proof that the tree of `new` leaves continues that of `old`.

    Refuses with `NotFound` (`unknown_size`) and `Invalid` (`sizes_out_of_order`).
    """
    if not 1 <= old <= new:
        raise Invalid("sizes_out_of_order", "the old size is 1 or more, and no more than the new one")
    await _check_size(tx, new)
    return tlog.consistency_proof(old, new, await reader(tx, tlog.consistency_tiles(old, new)))


async def tile(tx: ReadTx, wanted: tlog.Tile) -> bytes:
    """The hashes of a tile as it stands in a signed tree. Refuses with `NotFound` (`unknown_tile`)."""
    newest = await store.newest_checkpoint(tx)
    if newest is None or wanted.level is None or wanted.level > _MAX_LEVEL or not wanted.stands(newest.size):
        raise NotFound("unknown_tile", f"the signed tree has no tile {wanted.path}")
    found = await store.tiles(tx, [(wanted.level, wanted.n)])
    return found[wanted.level, wanted.n][: wanted.width * tlog.HASH_BYTES]


async def entries(tx: ReadTx, wanted: tlog.Tile) -> bytes:
    """The leaves of a tile of entries, as far as it stands in a signed tree. Refuses with `NotFound` (`unknown_tile`)."""
    newest = await store.newest_checkpoint(tx)
    if newest is None or wanted.level is not None or not wanted.stands(newest.size):
        raise NotFound("unknown_tile", f"the signed tree has no tile {wanted.path}")
    leaves = await store.leaves(tx, first=wanted.n * tlog.TILE_WIDTH, count=wanted.width)
    return tlog.write_entries(leaf.encode() for leaf in leaves)


async def checkpoint(tx: ReadTx) -> SignedCheckpoint:
    """The newest checkpoint; refuses with `NotFound` (`no_checkpoint`) before the first one."""
    newest = await store.newest_checkpoint(tx)
    if newest is None:
        raise NotFound("no_checkpoint", "nothing has been sealed yet")
    return newest


async def lag(tx: ReadTx) -> Lag:
    """How far sealing is behind."""
    return await store.lag(tx)


async def origin(tx: ReadTx) -> Origin | None:
    """The origin of the checkpoints that are signed now; `None` before the first."""
    return await store.origin(tx)


async def reader(tx: ReadTx, wanted: Sequence[tuple[int, int]]) -> tlog.ReadTile:
    """The tiles that are wanted, fetched at once."""
    fetched = await store.tiles(tx, wanted) if wanted else {}
    return lambda level, n: fetched[level, n]


async def _check_size(tx: ReadTx, size: int) -> None:
    if not 1 <= size <= await store.size(tx):
        raise NotFound("unknown_size", f"the tree never had {size} leaves")
