"""Principals and their keys."""

from tallystick.db.migrations import execute

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    execute("0002_identity.sql")
