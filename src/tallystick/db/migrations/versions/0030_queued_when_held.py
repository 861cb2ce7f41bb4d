"""A held transfer that was to be queued is posted when people have agreed."""

from tallystick.db.migrations import execute

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    execute("0030_queued_when_held.sql")
