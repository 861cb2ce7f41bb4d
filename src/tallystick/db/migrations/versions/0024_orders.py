"""Portfolios, orders, their fills, and the positions that the fills make."""

from tallystick.db.migrations import execute

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    execute("0024_orders.sql")
