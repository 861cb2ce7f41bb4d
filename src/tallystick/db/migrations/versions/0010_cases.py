"""Requests and events of customers."""

from tallystick.db.migrations import execute

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    execute("0010_cases.sql")
