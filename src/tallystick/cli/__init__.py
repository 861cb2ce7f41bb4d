"""The `tallystick` command."""

from tallystick.cli.main import main

__all__ = ["main"]
