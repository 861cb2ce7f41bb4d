"""The agent of `trade_review` requests: is the order small beside what is traded of the symbol on a day?"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tallystick import trading
from tallystick.agents.answer import Answer, a_person_decides
from tallystick.agents.payload import positive_number, text
from tallystick.db import ReadTx
from tallystick.kit import Invalid

DAYS = 20
APPROVED_UP_TO = Fraction(1, 100)
REVIEW_UP_TO = Fraction(10, 100)


async def review_trade(tx: ReadTx, payload: Mapping[str, Any]) -> Answer:
    """Compare `notional` with the average daily traded value of `symbol`: up to 1 % approved, up to 10 % review, else rejected.

    A payload that is malformed and a symbol of which nothing is traded are for a person to decide.
    """
    try:
        symbol, notional = text(payload, "symbol"), positive_number(payload, "notional")
    except Invalid as refusal:
        return a_person_decides(f"The request cannot be read: {refusal.detail}.")
    facts: dict[str, Any] = {"symbol": symbol, "notional": notional}
    traded = await trading.average_daily_value(tx, symbol, DAYS)
    if traded is None or not traded.total:
        return a_person_decides("Nothing is known to be traded of this symbol, so the order cannot be compared.", facts)
    share = Fraction(notional) * traded.days / Fraction(traded.total)
    decision = decide(share)
    facts |= {
        "average_daily_value": traded.average,
        "days": traded.days,
        "last_day": traded.last_day.isoformat(),
        "share_percent": _rounded(share * 100),
    }
    summary = (
        f"The order is {_rounded(share * 100)} % of what was traded of {symbol} a day, on average over {traded.days} days "
        f"up to {traded.last_day.isoformat()}. Up to {_rounded(APPROVED_UP_TO * 100, 0)} % is approved, "
        f"up to {_rounded(REVIEW_UP_TO * 100, 0)} % a person reviews, more is rejected: {decision}."
    )
    return Answer(decision, _rounded(confidence(share)), summary, facts)


def decide(share: Fraction) -> str:
    """The decision for an order that is `share` of the average daily traded value."""
    if share <= APPROVED_UP_TO:
        return "approved"
    return "review" if share <= REVIEW_UP_TO else "rejected"


def confidence(share: Fraction) -> Fraction:
    """How far `share` is from where the decision would change: 0 on a threshold, towards 1 far away from both.

    It is `1 - min(share, t) / max(share, t)` for the nearer threshold t, so 0.9 says that the order would have to be ten times
    as large, or a tenth, to be decided otherwise. It measures the distance, not the chance of being right.
    """
    return 1 - max(min(share, limit) / max(share, limit) for limit in (APPROVED_UP_TO, REVIEW_UP_TO))


def _rounded(number: Fraction, decimals: int = 4) -> Decimal:
    return Decimal(round(number * 10**decimals)).scaleb(-decimals)
