"""One function a query of the prices."""

from __future__ import annotations

from collections.abc import Sequence

from tallystick.db import Queries, ReadTx, Tx
from tallystick.trading.model import AverageDailyValue, LoadedPrices, Price

_queries = Queries(__package__)
_LOAD_PRICES = _queries.bind("load_prices", LoadedPrices)
_LATEST_PRICES = _queries.bind("latest_prices", Price)
_AVERAGE_DAILY_VALUE = _queries.bind("average_daily_value", AverageDailyValue)


async def load_prices(tx: Tx, prices: Sequence[Price]) -> LoadedPrices:
    return await tx.single(
        _LOAD_PRICES,
        {
            "symbols": [price.symbol for price in prices],
            "days": [price.day for price in prices],
            "opens": [price.open for price in prices],
            "highs": [price.high for price in prices],
            "lows": [price.low for price in prices],
            "closes": [price.close for price in prices],
            "volumes": [price.volume for price in prices],
        },
    )


async def latest_prices(tx: ReadTx, symbols: Sequence[str]) -> list[Price]:
    return await tx.all(_LATEST_PRICES, {"symbols": list(symbols)})


async def average_daily_value(tx: ReadTx, symbol: str, *, days: int) -> AverageDailyValue | None:
    return await tx.one(_AVERAGE_DAILY_VALUE, {"symbol": symbol, "days": days})
