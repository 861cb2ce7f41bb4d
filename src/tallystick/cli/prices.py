"""`tallystick import prices FILE`: daily prices into the price table."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tallystick import trading
from tallystick.db import Database

_CHUNK = 10_000
_BAD_ROWS_KEPT = 100


@dataclass(frozen=True, slots=True)
class PriceReport:
    """What an import did: rows read, and of these new, changed, the same as before, left out; `bad` has the first of those."""

    rows: int
    inserted: int
    changed: int
    same: int
    left_out: int
    bad: tuple[trading.BadRow, ...]


async def import_prices(database: Database, file: Path, on_progress: Callable[[int], None]) -> PriceReport:
    """Load a file of daily prices, ten thousand rows a transaction; `on_progress` is told how many rows each of them had.

    A row that makes no sense is left out and reported. Run again, it changes only what differs, so an import that was cut off
    is completed. Refuses with `Invalid` (`file_malformed`, `unknown_header`).
    """
    rows = trading.read_prices(file)
    read = inserted = changed = 0
    bad: list[trading.BadRow] = []
    left_out = 0
    while chunk := await asyncio.to_thread(_next_chunk, rows):
        prices = [row for row in chunk if isinstance(row, trading.Price)]
        async with database.write() as tx:
            loaded = await trading.load_prices(tx, prices)
        read += len(chunk)
        inserted += loaded.inserted
        changed += loaded.changed
        left_out += len(chunk) - len(prices)
        bad += [row for row in chunk if isinstance(row, trading.BadRow)][: _BAD_ROWS_KEPT - len(bad)]
        on_progress(len(chunk))
    return PriceReport(read, inserted, changed, read - inserted - changed - left_out, left_out, tuple(bad))


def _next_chunk(rows: Iterator[trading.Price | trading.BadRow]) -> list[trading.Price | trading.BadRow]:
    return list(islice(rows, _CHUNK))
