"""What an import did, and what it proves, as a table for people and a last line for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from tallystick import ledger
from tallystick.cli.berka.model import written
from tallystick.cli.berka.store import Difference
from tallystick.kit import Asset, format_minor


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The outcome of an import. Times are in seconds; `lowest_floor` is in haler, 0 where no account went below zero."""

    files: int
    rows: int
    journals_new: int
    journals_before: int
    accounts: int
    customers: int
    dispositions: int
    standing_orders: int
    compared: int
    differing: int
    differences: Sequence[Difference]
    roundings: int
    floors: int
    lowest_floor: int
    trial_balance: Sequence[ledger.TrialBalance]
    posting_s: float
    total_s: float

    @property
    def agrees(self) -> bool:
        """Whether the books equal the source after every row, and every asset adds up to nothing."""
        return self.differing == 0 and self.compared == self.rows and all(not asset.difference for asset in self.trial_balance)


def render(outcome: Reconciliation) -> Table:
    """The reconciliation table."""
    table = Table(title="Reconciliation", show_header=False, title_justify="left")
    table.add_column(justify="left")
    table.add_column(justify="right")
    for name, value in _lines(outcome):
        table.add_row(name, value)
    return table


def last_line(outcome: Reconciliation) -> str:
    """The last line of an import, for programs."""
    return f"reconciled rows={outcome.compared} differ={outcome.differing} roundings={outcome.roundings}"


def _lines(outcome: Reconciliation) -> list[tuple[str, str]]:
    lines = [
        ("files of transactions", f"{outcome.files:,}"),
        ("rows read", f"{outcome.rows:,}"),
        ("journals posted, new", f"{outcome.journals_new:,}"),
        ("journals posted, there before", f"{outcome.journals_before:,}"),
        ("accounts", f"{outcome.accounts:,}"),
        ("customers", f"{outcome.customers:,}"),
        ("dispositions", f"{outcome.dispositions:,}"),
        ("standing orders", f"{outcome.standing_orders:,}"),
        ("balances compared", f"{outcome.compared:,}"),
        ("balances that differ", f"{outcome.differing:,}"),
        ("roundings of 0.10", f"{outcome.roundings:,}"),
        ("accounts with a floor below zero", f"{outcome.floors:,}"),
        ("lowest floor", written(outcome.lowest_floor)),
    ]
    for asset in outcome.trial_balance:
        unit = Asset(asset.asset, asset.scale)
        lines.append((f"trial balance {asset.asset}, given", format_minor(asset.cr, unit)))
        lines.append((f"trial balance {asset.asset}, taken", format_minor(asset.dr, unit)))
        lines.append((f"trial balance {asset.asset}, difference", format_minor(asset.difference, unit)))
    lines.append(("rows per second, posting", _rate(outcome.journals_new, outcome.posting_s)))
    lines.append(("rows per second, overall", _rate(outcome.rows, outcome.total_s)))
    return lines


def _rate(rows: int, seconds: float) -> str:
    return f"{rows / seconds:,.0f}" if rows and seconds > 0 else "-"
