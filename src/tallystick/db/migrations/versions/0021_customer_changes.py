"""Addresses and credentials of customers, and when their standing orders are carried out."""

from tallystick.db.migrations import execute

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    execute("0021_customer_changes.sql")
