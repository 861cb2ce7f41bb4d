"""The revisions. Each is a numbered file of plain SQL beside this one, and a module in `versions` that puts it in order."""

from __future__ import annotations

from importlib.resources import files

from alembic import op


def execute(name: str) -> None:
    """Run the SQL file `name` in the revision's transaction."""
    statements = files(__package__).joinpath(name).read_bytes()
    # Straight to the driver: SQLAlchemy would look for parameters in the text.
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(statements)
