"""The account's story for a period: opening balance, entries, closing balance; as JSON, CSV and camt.053.

And the way back: statements that other banks give us, read from camt.053 and CSV.
"""

from tallystick.statements.camt_reader import read_camt053
from tallystick.statements.camt_writer import camt053_chunks
from tallystick.statements.csv_reader import guard, read_csv
from tallystick.statements.csv_writer import csv_chunks
from tallystick.statements.files import StatementFile, StatementLine
from tallystick.statements.json_form import head, json_chunks, line
from tallystick.statements.model import BooksBroken, Line, Statement
from tallystick.statements.service import lines, page, statement

__all__ = [
    "BooksBroken",
    "Line",
    "Statement",
    "StatementFile",
    "StatementLine",
    "camt053_chunks",
    "csv_chunks",
    "guard",
    "head",
    "json_chunks",
    "line",
    "lines",
    "page",
    "read_camt053",
    "read_csv",
    "statement",
]
