"""Actions: what was proposed, and what became of it."""

from tallystick.db.migrations import execute

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    execute("0020_gate.sql")
