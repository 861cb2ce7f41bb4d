"""Policies, lists, counters and decisions."""

from tallystick.db.migrations import execute

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    execute("0018_policy.sql")
