"""Questions to people, their votes, and notices of them."""

from tallystick.db.migrations import execute

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    execute("0019_approvals.sql")
