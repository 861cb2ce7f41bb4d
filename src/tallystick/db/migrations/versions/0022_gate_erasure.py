"""What the gate keeps of a customer can be erased."""

from tallystick.db.migrations import execute

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    execute("0022_gate_erasure.sql")
