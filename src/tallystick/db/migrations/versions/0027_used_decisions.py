"""Decisions that are used as they are kept say so themselves."""

from tallystick.db.migrations import execute

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    execute("0027_used_decisions.sql")
