"""Batches of transfers as one action, and what questions to people touch."""

from tallystick.db.migrations import execute

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    execute("0025_gate_rest.sql")
