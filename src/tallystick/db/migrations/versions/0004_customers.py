"""Customers, who may use which account, standing orders."""

from tallystick.db.migrations import execute

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    execute("0004_customers.sql")
