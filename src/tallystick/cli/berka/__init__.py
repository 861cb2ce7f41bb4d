"""The import of a Czech bank's books, 1993 to 1998 (the PKDD'99 challenge, known as Berka's data)."""

from tallystick.cli.berka.importing import import_berka
from tallystick.cli.berka.model import ImportRefused, Problem, Problems
from tallystick.cli.berka.report import Reconciliation, last_line, render

__all__ = ["ImportRefused", "Problem", "Problems", "Reconciliation", "import_berka", "last_line", "render"]
