"""The account's story for a period: opening balance, entries, closing balance; as JSON, CSV and camt.053."""
