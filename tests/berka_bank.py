"""A small made-up bank in the source's own format: sound, with days of several rows, roundings and overdrafts."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

TRANS = "trans_id;account_id;date;type;operation;amount;balance;k_symbol;bank;account"
_WAYS = [
    ("PRIJEM", "VKLAD", "", ""),
    ("PRIJEM", "PREVOD Z UCTU", "DUCHOD", "YZ"),
    ("PRIJEM", "", "UROK", ""),
    ("VYDAJ", "VYBER", "", ""),
    ("VYDAJ", "VYBER", "SLUZBY", ""),
    ("VYDAJ", "VYBER", "SANKC. UROK", ""),
    ("VYDAJ", "VYBER KARTOU", " ", ""),
    ("VYDAJ", "PREVOD NA UCET", "SIPO", "QR"),
    ("VYDAJ", "PREVOD NA UCET", "UVER", "AB"),
    ("VYBER", "VYBER", "", ""),
]
_ENGLISH = {
    "PRIJEM": "credit",
    "VYDAJ": "withdrawal",
    "VKLAD": "credit in cash",
    "VYBER": "withdrawal in cash",
    "VYBER KARTOU": "credit card withdrawal",
    "PREVOD Z UCTU": "collection from another bank",
    "PREVOD NA UCET": "remittance to another bank",
    "SIPO": "household",
    "UROK": "interest credited",
    "SLUZBY": "payment for statement",
    "DUCHOD": "old-age pension",
    "UVER": "loan payment",
    "SANKC. UROK": "sanction interest if negative balance",
}


@dataclass
class MadeBank:
    """The bank's tables as lines without a header; `lowest` is each account's lowest balance, in haler."""

    accounts: list[int]
    transactions: list[str]
    roundings: int
    lowest: dict[int, int] = field(default_factory=dict)


def make(seed: int = 1, *, accounts: int = 5, rows: int = 40) -> MadeBank:
    """A bank of some accounts with `rows` transactions each; the same seed makes the same bank."""
    source = random.Random(seed)
    numbers = list(range(1, accounts * rows + 1))
    source.shuffle(numbers)
    bank = MadeBank([100 + number for number in range(accounts)], [], 0)
    for account in bank.accounts:
        day = date(1993, 1, 1)
        balance = 0
        bank.lowest[account] = 10**9
        for place in range(rows):
            day += timedelta(days=source.choice((0, 0, 1, 3)))
            kind, way, purpose, other = _WAYS[0] if place == 0 else source.choice(_WAYS)
            # Every amount is another, so that the made order is the only one.
            amount = 100_000 * source.randint(1, 9) + 100 * numbers[-1] % 100_000 + 50 + place % 50
            step = source.choice((10, -10)) if source.random() < 0.1 and place else 0
            bank.roundings += step != 0
            balance += (amount if kind == "PRIJEM" else -amount) + step
            bank.lowest[account] = min(bank.lowest[account], balance)
            bank.transactions.append(
                f'{numbers.pop()};{account};{day:%y%m%d};"{kind}";"{way}";{money(amount)};{money(balance)};"{purpose}";'
                f'"{other}";{account if other else ""}'
            )
    return bank


def write(folder: Path, bank: MadeBank, files: Mapping[str, Sequence[str]] | None = None) -> Path:
    """Write the bank's files into `folder`; `files` are the transactions by file name, all in one file by default."""
    folder.mkdir(parents=True, exist_ok=True)
    table(
        folder / "account.asc.gz", "account_id;district_id;frequency;date", [f'{n};1;"POPLATEK";930101' for n in bank.accounts]
    )
    table(folder / "client.asc.gz", "client_id;birth_number;district_id", [f'{n};"{_birth(n)}";1' for n in bank.accounts])
    rights = [f'{n};{n};{n};"OWNER"' for n in bank.accounts] + [f'{n + 1};{n + 1};{n};"DISPONENT"' for n in bank.accounts[:-1]]
    table(folder / "disp.asc.gz", "disp_id;client_id;account_id;type", rights)
    orders = [f'{n};{n};"YZ";"87144583";12.50;"SIPO"' for n in bank.accounts]
    table(folder / "order.asc.gz", "order_id;account_id;bank_to;account_to;amount;k_symbol", orders)
    table(
        folder / "district.asc.gz",
        ";".join(f"A{n}" for n in range(1, 17)),
        ['1;"Hl.m. Praha";"Prague";1204953;0;0;0;1;1;100.0;12541;0.29;0.43;167;85677;99107'],
    )
    for name, lines in (files or {"trans_all.asc.gz": bank.transactions}).items():
        table(folder / name, TRANS, lines)
    return folder


def _birth(number: int) -> str:
    return f"70{number % 12 + 1 + 50 * (number % 2):02}13"


def table(path: Path, header: str, lines: Iterable[str]) -> None:
    """Write one gzipped table; names that end in `.asc.gz` get the original's line ends."""
    end = "\r\n" if path.name.endswith(".asc.gz") else "\n"
    with gzip.open(path, "wt", encoding="utf-8", newline="", compresslevel=1) as file:
        file.writelines(f"{line}{end}" for line in (header, *lines))


def translated(line: str) -> str:
    """A line of transactions in the other language, without quotes."""
    words = line.replace('"', "").split(";")
    for place in (3, 4, 7):
        words[place] = _ENGLISH.get(words[place], words[place])
    return ";".join(words)


def money(haler: int) -> str:
    """An amount as the source writes it."""
    return f"{'-' if haler < 0 else ''}{abs(haler) // 100}.{abs(haler) % 100:02}"
