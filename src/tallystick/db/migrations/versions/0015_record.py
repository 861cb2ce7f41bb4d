"""The record: leaves, the tree over them, checkpoints."""

from tallystick.db.migrations import execute

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    execute("0015_record.sql")
