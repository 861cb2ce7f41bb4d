"""The verbs of the prices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tallystick import audit
from tallystick.db import ReadTx, Tx
from tallystick.kit import Invalid
from tallystick.trading import store
from tallystick.trading.model import AverageDailyValue, LoadedPrices, Price

MAX_BATCH = 20_000


async def load_prices(tx: Tx, prices: Sequence[Price], *, principal: str = "import") -> LoadedPrices:
    """Store daily prices; one that is there for the same symbol and day is replaced where it differs.

    Refuses with `Invalid` (`batch_too_large`) more than 20,000 prices in a call.
    """
    if len(prices) > MAX_BATCH:
        raise Invalid("batch_too_large", f"a batch may hold {MAX_BATCH} prices")
    if not prices:
        return LoadedPrices(0, 0, 0)
    loaded = await store.load_prices(tx, prices)
    if loaded.inserted or loaded.changed:
        detail = {"rows": loaded.rows, "inserted": loaded.inserted, "changed": loaded.changed}
        await audit.append(tx, principal=principal, verb="prices.load", subject_kind="price", detail=detail)
    return loaded


async def latest_price(tx: ReadTx, symbol: str) -> Price | None:
    """The newest price of a symbol; `None` where there is none."""
    return (await latest_prices(tx, [symbol])).get(symbol)


async def latest_prices(tx: ReadTx, symbols: Iterable[str]) -> dict[str, Price]:
    """The newest price of each of those symbols that has one."""
    return {price.symbol: price for price in await store.latest_prices(tx, sorted(set(symbols)))}


async def average_daily_value(tx: ReadTx, symbol: str, days: int = 20) -> AverageDailyValue | None:
    """What was traded of a symbol on its last `days` days with a volume, or on as many as it has; `None` where it has none."""
    return await store.average_daily_value(tx, symbol, days=days)
