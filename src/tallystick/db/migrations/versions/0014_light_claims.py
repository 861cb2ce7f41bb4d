"""Claims that are not waited for on disk, with fences that a crash does not repeat."""

from tallystick.db.migrations import execute

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    execute("0014_light_claims.sql")
