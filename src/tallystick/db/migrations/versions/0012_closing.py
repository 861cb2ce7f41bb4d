"""The bank's day: business-day calendars, end of day, closing balances as facts, closed periods."""

from tallystick.db.migrations import execute

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    execute("0012_closing.sql")
