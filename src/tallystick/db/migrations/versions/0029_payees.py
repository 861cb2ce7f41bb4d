"""Payees outside of the bank are known by their bank and their account."""

from tallystick.db.migrations import execute

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    execute("0029_payees.sql")
