"""camt.053 (ISO 20022, Bank to Customer Statement) into `StatementFile`: versions 001.02 to 001.13, by elements' names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tallystick.kit import Invalid
from tallystick.statements.camt_tree import Node, read_tree
from tallystick.statements.files import StatementFile, StatementLine
from tallystick.statements.limits import check_count, check_size, day, free_text, malformed, minor_units, reference

_CUT = frozenset({"Stmt", "Ntry"})
_FULL_USTRD = 140
_NOT_PROVIDED = "NOTPROVIDED"

ScaleOf = Callable[[str], int]


def read_camt053(data: bytes, *, scale_of: ScaleOf) -> list[StatementFile]:
    """Every statement of the file, in order, with its booked entries; amounts exact, `scale_of` a currency giving its decimals.

    - An entry that is a batch gives one line for each transaction in it, where each tells its amount and together they are
      the entry's; else one line. Entries that are not booked (`PDNG`, `INFO`, `FUTR`) are no lines.
    - The opening balance is `OPBD`, else `PRCD`; the closing balance is `CLBD`. Whether they add up is the caller's to ask
      (`StatementFile.difference`).
    - `reference` is `AcctSvcrRef`, of the transaction before that of the entry, else `NtryRef`. `text` is `RmtInf/Ustrd`, else
      the creditor's reference, else what the bank says of the transaction or the entry.

    Refuses with `Invalid`, with the line: what is no such message or is hostile (`statement_malformed`), more than 64 MiB or
    250,000 entries (`statement_too_large`), and as `scale_of` does.
    """
    check_size(data)
    reader = _Reader(scale_of)
    root = read_tree(data, cut=_CUT, on_cut=reader.on_cut)
    message = root.find("BkToCstmrStmt") if root.name == "Document" else _wrapped(root)
    if message is None or not reader.statements:
        raise malformed(root.line, "this is no camt.053 statement")
    return reader.statements


def _wrapped(root: Node) -> Node | None:
    """The message inside of an envelope, such as one with a business application header."""
    return next((found for child in root.children for found in [child.find("BkToCstmrStmt")] if found is not None), None)


@dataclass(slots=True)
class _Reader:
    scale_of: ScaleOf
    statements: list[StatementFile] = field(default_factory=list)
    entries: int = 0
    _lines: list[StatementLine] = field(default_factory=list)
    _currencies: dict[str, int] = field(default_factory=dict)

    def on_cut(self, node: Node, parent: Node) -> None:
        if node.name == "Ntry" and parent.name == "Stmt":
            self._entry(node)
        elif node.name == "Stmt" and parent.name == "BkToCstmrStmt":
            self._statement(node)

    def _entry(self, entry: Node) -> None:
        # The first entry of a statement is read before the statement ends, so its currency is that of the lines until then.
        self.entries += 1
        check_count(self.entries, entry.line)
        status = entry.words("Sts/Cd") or entry.words("Sts") or entry.words("Sts/Prtry")
        if status not in (None, "BOOK"):
            return
        amount = self._signed(entry, entry)
        parts = self._parts(entry, amount)
        if parts is None:
            only = list(entry.every("NtryDtls/TxDtls"))
            parts = [(only[0] if len(only) == 1 else None, amount)]
        for details, part in parts:
            self._lines.append(_line(len(self._lines) + 1, entry, details, part))
            check_count(len(self._lines), entry.line)

    def _parts(self, entry: Node, amount: int) -> list[tuple[Node | None, int]] | None:
        """A batch taken apart, where its transactions explain all of it."""
        every = list(entry.every("NtryDtls/TxDtls"))
        if len(every) < 2:
            return None
        parts: list[tuple[Node | None, int]] = []
        for details in every:
            holder = details if details.find("Amt") is not None else details.find("AmtDtls/TxAmt")
            told = holder.find("Amt") if holder is not None else None
            # An amount in another currency was exchanged on the way and says nothing of this account.
            if holder is None or told is None or told.attributes.get("Ccy") not in self._currencies:
                return None
            parts.append((details, self._signed(holder, details if details.find("CdtDbtInd") is not None else entry)))
        return parts if sum(part for _, part in parts) == amount else None

    def _signed(self, holder: Node, indicator: Node) -> int:
        """`holder/Amt`, above zero where `indicator/CdtDbtInd` says credit."""
        amount = holder.find("Amt")
        if amount is None:
            raise malformed(holder.line, f"{holder.name} has no Amt")
        currency = amount.attributes.get("Ccy")
        if currency is None:
            raise malformed(amount.line, "Amt has no Ccy")
        if currency not in self._currencies:
            self._currencies[currency] = _scale(self.scale_of, currency, amount.line)
        minor = minor_units(amount.text.strip(), self._currencies[currency], amount.line)
        if minor < 0:
            raise malformed(amount.line, "Amt is below zero; CdtDbtInd tells the side")
        side = indicator.words("CdtDbtInd")
        if side not in ("CRDT", "DBIT"):
            raise malformed(indicator.line, f"CdtDbtInd of {indicator.name} is neither CRDT nor DBIT")
        return minor if side == "CRDT" else -minor

    def _statement(self, statement: Node) -> None:
        balances: dict[str, int] = {}
        for balance in statement.every("Bal"):
            kind = balance.words("Tp/CdOrPrtry/Cd")
            if kind in ("OPBD", "PRCD", "CLBD"):
                balances.setdefault(kind, self._signed(balance, balance))
        currency = statement.words("Acct/Ccy") or next(iter(self._currencies), None)
        if currency is None:
            raise malformed(statement.line, "the statement tells no currency")
        if set(self._currencies) - {currency}:
            raise malformed(statement.line, "the statement's amounts are not all in the currency of its account")
        account = statement.words("Acct/Id/IBAN") or statement.words("Acct/Id/Othr/Id")
        if account is None:
            raise malformed(statement.line, "the statement names no account")
        name = statement.words("Id")
        if name is None:
            raise malformed(statement.line, "the statement has no Id")
        self.statements.append(
            StatementFile(
                statement_id=reference(name, statement.line) or name,
                account=reference(account, statement.line) or account,
                currency=currency,
                opening=balances.get("OPBD", balances.get("PRCD")),
                closing=balances.get("CLBD"),
                lines=tuple(self._lines),
            )
        )
        self._lines.clear()
        self._currencies.clear()


def _scale(scale_of: ScaleOf, currency: str, line: int) -> int:
    try:
        return scale_of(currency)
    except KeyError:
        raise malformed(line, "a currency is not known") from None
    except Invalid as refusal:
        raise Invalid(refusal.code, f"line {line}: {refusal.detail}") from None


def _line(number: int, entry: Node, details: Node | None, amount: int) -> StatementLine:
    booked = entry.words("BookgDt/Dt") or entry.words("BookgDt/DtTm")
    valued = entry.words("ValDt/Dt") or entry.words("ValDt/DtTm")
    own = details.words("Refs/AcctSvcrRef") if details is not None else None
    end_to_end = details.words("Refs/EndToEndId") if details is not None else None
    return StatementLine(
        number=number,
        reference=reference(own or entry.words("AcctSvcrRef") or entry.words("NtryRef") or "", entry.line),
        amount=amount,
        booked_on=day(booked, entry.line) if booked else None,
        valued_on=day(valued, entry.line) if valued else None,
        text=_text(entry, details),
        end_to_end_id=reference("" if end_to_end in (None, _NOT_PROVIDED) else str(end_to_end), entry.line),
    )


def _text(entry: Node, details: Node | None) -> str | None:
    if details is not None:
        said, full = "", True
        for piece in (node.text for node in details.every("RmtInf/Ustrd")):
            # A piece that is full was cut from what follows; others are lines of their own.
            said += ("" if full else " ") + piece
            full = len(piece) >= _FULL_USTRD
        found = free_text(said) or details.words("RmtInf/Strd/CdtrRefInf/Ref") or details.words("AddtlTxInf")
        if found:
            return free_text(found)
    return free_text(entry.words("AddtlNtryInf") or "")
