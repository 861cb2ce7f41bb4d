"""Instruments and their daily prices."""

from tallystick.trading.csv import HEADER, BadRow, read_prices
from tallystick.trading.model import AverageDailyValue, LoadedPrices, Price
from tallystick.trading.service import average_daily_value, latest_price, latest_prices, load_prices

__all__ = [
    "HEADER",
    "AverageDailyValue",
    "BadRow",
    "LoadedPrices",
    "Price",
    "average_daily_value",
    "latest_price",
    "latest_prices",
    "load_prices",
    "read_prices",
]
