"""The source's codes: what a row was for, in either of its languages, and which account of the bank stands on the other side.

A row has a type (the direction), an operation (the way) and a k-symbol (the purpose). A word that is not known is refused
rather than guessed at, and so is a way that goes against the direction; any purpose may stand with either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

OTHER_BANKS = "berka-other-banks"
CASH_DESK = "berka-cash-desk"
INTEREST = "berka-interest"
FEES = "berka-fees"
PENALTY_INTEREST = "berka-penalty-interest"
LOANS = "berka-loans"
ROUNDING_ACCOUNT = "berka-rounding"

COUNTER_ACCOUNTS = (OTHER_BANKS, CASH_DESK, INTEREST, FEES, PENALTY_INTEREST, LOANS, ROUNDING_ACCOUNT)

TYPES = {
    "PRIJEM": "PRIJEM",
    "VYDAJ": "VYDAJ",
    "VYBER": "VYBER",
    "credit": "PRIJEM",
    "withdrawal": "VYDAJ",
    "withdrawal in cash": "VYBER",
}
OPERATIONS = {
    "": "",
    "VKLAD": "VKLAD",
    "VYBER": "VYBER",
    "VYBER KARTOU": "VYBER KARTOU",
    "PREVOD Z UCTU": "PREVOD Z UCTU",
    "PREVOD NA UCET": "PREVOD NA UCET",
    "credit in cash": "VKLAD",
    "withdrawal in cash": "VYBER",
    "credit card withdrawal": "VYBER KARTOU",
    "collection from another bank": "PREVOD Z UCTU",
    "remittance to another bank": "PREVOD NA UCET",
}
K_SYMBOLS = {
    "": "",
    " ": "",
    "SIPO": "SIPO",
    "UROK": "UROK",
    "SLUZBY": "SLUZBY",
    "DUCHOD": "DUCHOD",
    "POJISTNE": "POJISTNE",
    "UVER": "UVER",
    "LEASING": "LEASING",
    "SANKC. UROK": "SANKC. UROK",
    "household": "SIPO",
    "interest credited": "UROK",
    "payment for statement": "SLUZBY",
    "old-age pension": "DUCHOD",
    "pension": "DUCHOD",
    "insurance payment": "POJISTNE",
    "insurrance payment": "POJISTNE",
    "loan payment": "UVER",
    "leasing": "LEASING",
    "sanction interest if negative balance": "SANKC. UROK",
}
"""The translation's spelling of "insurrance" is the source's own."""

_WAYS = {
    "PRIJEM": ("", "VKLAD", "PREVOD Z UCTU"),
    "VYDAJ": ("", "VYBER", "VYBER KARTOU", "PREVOD NA UCET"),
    "VYBER": ("", "VYBER", "VYBER KARTOU", "PREVOD NA UCET"),
}
_BY_PURPOSE = {"UROK": INTEREST, "SLUZBY": FEES, "SANKC. UROK": PENALTY_INTEREST, "UVER": LOANS}
_BY_WAY = {"VKLAD": CASH_DESK, "VYBER": CASH_DESK, "VYBER KARTOU": CASH_DESK, "PREVOD Z UCTU": OTHER_BANKS}


@dataclass(frozen=True, slots=True)
class Code:
    """What a row was for, in the source's Czech words. `sign` is 1 where the account was given money, else -1."""

    type: str
    operation: str
    k_symbol: str

    @property
    def sign(self) -> int:
        return 1 if self.type == "PRIJEM" else -1

    @property
    def counter_account(self) -> str:
        """The account of the bank on the other side: by purpose where that says it, else by the way the money went."""
        return _BY_PURPOSE.get(self.k_symbol) or _BY_WAY.get(self.operation, OTHER_BANKS)

    @property
    def meta(self) -> dict[str, Any]:
        """The codes as a journal carries them; what is empty is left out."""
        words = {"type": self.type, "operation": self.operation, "k_symbol": self.k_symbol}
        return {name: word for name, word in words.items() if word}


_PURPOSES = tuple(dict.fromkeys(K_SYMBOLS.values()))
CODES = tuple(Code(kind, way, purpose) for kind, ways in _WAYS.items() for way in ways for purpose in _PURPOSES)
_PLACES = {(code.type, code.operation, code.k_symbol): place for place, code in enumerate(CODES)}


def place_of(kind: str, operation: str, k_symbol: str) -> int:
    """The index in `CODES` of a row's three words, in either language; `ValueError` says which word is unknown."""
    for word, known, what in ((kind, TYPES, "type"), (operation, OPERATIONS, "operation"), (k_symbol, K_SYMBOLS, "k_symbol")):
        if word not in known:
            raise ValueError(f"unknown {what} {word[:40]!r}")
    place = _PLACES.get((TYPES[kind], OPERATIONS[operation], K_SYMBOLS[k_symbol]))
    if place is None:
        raise ValueError(f"operation {operation!r} goes against type {kind!r}")
    return place
