"""Names of accounts, remembered: what a name stands for never changes, so it is read once."""

from __future__ import annotations

from collections.abc import Collection

from tallystick.db import ReadTx
from tallystick.ledger.model import AccountRef
from tallystick.ledger.service import references

_MAX_NAMES = 50_000


class Directory:
    """What never changes of accounts, by name, for one database; at most 50,000 names are kept.

    It is for transactions that open no accounts themselves: an account whose opening is undone would be remembered.
    """

    def __init__(self) -> None:
        self._known: dict[str, AccountRef] = {}

    async def find(self, tx: ReadTx, names: Collection[str]) -> dict[str, AccountRef]:
        """The accounts of those names that exist; the database is asked only for names that are not known yet."""
        missing = [name for name in names if name not in self._known]
        found = {name: self._known[name] for name in names if name in self._known}
        if missing:
            read = await references(tx, missing)
            if len(self._known) + len(read) > _MAX_NAMES:
                self._known.clear()
            self._known.update(read)
            found |= read
        return found
