"""Schedules: tasks that are enqueued at the times of a cron text in a time zone."""

from tallystick.db.migrations import execute

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    execute("0013_schedules.sql")
