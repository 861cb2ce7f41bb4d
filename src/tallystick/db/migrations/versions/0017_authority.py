"""Roles, scopes, agents with their versions, mandates, sign-ins."""

from tallystick.db.migrations import execute

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    execute("0017_authority.sql")
