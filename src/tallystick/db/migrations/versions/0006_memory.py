"""What agents leave for each other."""

from tallystick.db.migrations import execute

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    execute("0006_memory.sql")
