"""Tasks, the queue, runs and outcomes."""

from tallystick.db.migrations import execute

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    execute("0005_work.sql")
