"""The trade review agent: what a position is worth at the latest close."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal, Inexact

from tallystick import trading
from tallystick.agents.payload import positive_number, text
from tallystick.db import Tx
from tallystick.kit import Invalid
from tallystick.work import Claimed, Finish

# Python's own context would round a product to 28 digits without a word.
_EXACT = Context(prec=80, traps=[Inexact])


class TradeReviewAgent:
    """Answers `{"symbol", "quantity"}` with the exact product of the quantity and the symbol's latest close."""

    name = "trade-review-agent"
    types = ("position_check",)

    async def run(self, tx: Tx, claimed: Sequence[Claimed]) -> list[Finish]:
        symbols = {symbol for task in claimed if isinstance(symbol := task.payload.get("symbol"), str)}
        prices = await trading.latest_prices(tx, symbols)
        return [_check(task, prices) for task in claimed]


def _check(task: Claimed, prices: Mapping[str, trading.Price]) -> Finish:
    try:
        symbol, quantity = text(task.payload, "symbol"), positive_number(task.payload, "quantity")
        price = prices.get(symbol)
        if price is None:
            raise Invalid("unknown_symbol", "there is no price of this symbol")
    except Invalid as refusal:
        return Finish(task.task_id, task.fence, "failed", error=str(refusal))
    result = {
        "symbol": symbol,
        "quantity": quantity,
        "status": "processed",
        "notional_estimate": _EXACT.multiply(Decimal(quantity), price.close),
        "price": price.close,
        "price_day": price.day.isoformat(),
    }
    return Finish(task.task_id, task.fence, "done", result)
