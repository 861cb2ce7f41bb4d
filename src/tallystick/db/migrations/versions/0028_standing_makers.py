"""Standing orders know in whose name they are paid, and runs why they were not."""

from tallystick.db.migrations import execute

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    execute("0028_standing_makers.sql")
