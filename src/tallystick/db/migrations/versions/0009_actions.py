"""Transfers."""

from tallystick.db.migrations import execute

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    execute("0009_actions.sql")
