"""Prices."""

from tallystick.db.migrations import execute

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    execute("0008_trading.sql")
