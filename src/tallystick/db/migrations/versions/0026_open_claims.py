"""Claims that stand open: tasks are handed to workers that wait."""

from tallystick.db.migrations import execute

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    execute("0026_open_claims.sql")
