"""The accounts of a transfer without foreign keys."""

from tallystick.db.migrations import execute

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    execute("0023_transfer_accounts.sql")
