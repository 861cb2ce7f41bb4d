"""Erasure, legal holds and retention."""

from tallystick.db.migrations import execute

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    execute("0016_erasure.sql")
