"""The audit trail."""

from tallystick.db.migrations import execute

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    execute("0007_audit.sql")
