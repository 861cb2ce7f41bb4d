"""The accounts of a transfer without foreign keys."""

from tallystick.db.migrations import execute

revision = "0026"
down_revision = "0022"


def upgrade() -> None:
    execute("0026_transfer_accounts.sql")
