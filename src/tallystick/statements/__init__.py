"""The account's story for a period: opening balance, entries, closing balance; as JSON, CSV and camt.053."""

from tallystick.statements.camt_reader import read_camt053
from tallystick.statements.csv_reader import read_csv
from tallystick.statements.files import StatementFile, StatementLine

__all__ = [
    "StatementFile",
    "StatementLine",
    "read_camt053",
    "read_csv",
]
