"""The books."""

from tallystick.db.migrations import execute

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    execute("0003_ledger.sql")
