"""The books: accounts of one asset each, balanced journals, entries that carry the balance they left.

Amounts are integers in the asset's minor unit; above zero gives to the account (credit), below zero takes (debit).
"""

from tallystick.ledger.model import (
    Account,
    AccountRef,
    AccountSpec,
    Entry,
    Journal,
    OpenedAccount,
    Posted,
    TrialBalance,
    transfer,
)
from tallystick.ledger.service import (
    account,
    accounts,
    asset,
    assets,
    entries,
    lower_floors,
    open_accounts,
    post,
    references,
    resolve,
    set_status,
    trial_balance,
)

__all__ = [
    "Account",
    "AccountRef",
    "AccountSpec",
    "Entry",
    "Journal",
    "OpenedAccount",
    "Posted",
    "TrialBalance",
    "account",
    "accounts",
    "asset",
    "assets",
    "entries",
    "lower_floors",
    "open_accounts",
    "post",
    "references",
    "resolve",
    "set_status",
    "transfer",
    "trial_balance",
]
