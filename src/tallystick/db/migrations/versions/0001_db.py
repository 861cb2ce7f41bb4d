"""The shared tables: idempotency keys and the list of repeatable files."""

from tallystick.db.migrations import execute

revision = "0001"
down_revision = None


def upgrade() -> None:
    execute("0001_db.sql")
