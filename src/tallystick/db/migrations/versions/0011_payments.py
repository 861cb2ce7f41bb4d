"""Money that leaves the bank or comes in: nostro accounts, external payments, reconciliation with other banks' statements."""

from tallystick.db.migrations import execute

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    execute("0011_payments.sql")
