"""A statement as ISO 20022 camt.053.001.08 (Bank to Customer Statement), written while its lines come in.

Element names, their order and their lengths are those of the message's definition at iso20022.org.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from xml.sax.saxutils import escape, quoteattr

from tallystick.kit import Invalid, format_minor
from tallystick.ledger import AccountRef
from tallystick.statements.model import Line, Statement, day_of

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"
_CHUNK = 65_536
_MAX_ID = 34
_MAX_SCALE = 5
_MAX_DIGITS = 18
_MAX_TEXT = 140
_MAX_CODE = 35
_CURRENCY = re.compile(r"[A-Z]{3}")
_NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINE_END = re.compile("\r\n?")
_REPLACEMENT = "\ufffd"


def check_expressible(account: AccountRef) -> None:
    """Refuse with `Invalid` (`statement_not_expressible`) an account that a camt.053 cannot be about."""
    if not _CURRENCY.fullmatch(account.asset) or account.scale > _MAX_SCALE:
        raise _not_expressible(f"an account in {account.asset}, only for currencies of three letters and at most five decimals")
    if len(account.name) > _MAX_ID:
        raise _not_expressible(f"an account whose name has more than {_MAX_ID} characters")


async def camt053_chunks(statement: Statement, lines: AsyncIterator[Line]) -> AsyncIterator[bytes]:
    """The file, in pieces of about 64 KiB, while the lines come in.

    Refuses before the first piece with `Invalid` (`statement_not_expressible`) what the message has no room for: an account as
    in `check_expressible`, a balance or sum of over 18 digits.
    """
    check_expressible(statement.account)
    xml = _Xml()
    with xml.element("Document", xmlns=NAMESPACE), xml.element("BkToCstmrStmt"):
        with xml.element("GrpHdr"):
            xml.leaf("MsgId", f"M{statement.id[1:21]}{statement.made_at:%y%m%d%H%M%S}")
            xml.leaf("CreDtTm", _moment(statement.made_at))
        with xml.element("Stmt"):
            _head(xml, statement)
            async for line in lines:
                _entry(xml, statement, line)
                if xml.size > _CHUNK:
                    yield xml.taken()
    yield xml.taken()


def _head(xml: _Xml, statement: Statement) -> None:
    xml.leaf("Id", statement.id)
    xml.leaf("ElctrncSeqNb", str(statement.span.version))
    xml.leaf("CreDtTm", _moment(statement.made_at))
    with xml.element("FrToDt"):
        xml.leaf("FrDtTm", _moment(statement.span.start))
        xml.leaf("ToDtTm", _moment(statement.span.end))
    with xml.element("Acct"):
        with xml.element("Id"), xml.element("Othr"):
            xml.leaf("Id", statement.account.name)
        xml.leaf("Ccy", statement.unit.code)
    _balance(xml, statement, "OPBD", statement.opening, statement.span.start)
    _balance(xml, statement, "CLBD", statement.closing, statement.last_moment)
    _summary(xml, statement)


def _balance(xml: _Xml, statement: Statement, code: str, amount: int, moment: datetime) -> None:
    with xml.element("Bal"):
        with xml.element("Tp"), xml.element("CdOrPrtry"):
            xml.leaf("Cd", code)
        _amount(xml, statement, amount)
        with xml.element("Dt"):
            xml.leaf("Dt", day_of(moment))


def _summary(xml: _Xml, statement: Statement) -> None:
    totals = statement.totals
    net = totals.credited - totals.debited
    with xml.element("TxsSummry"):
        with xml.element("TtlNtries"):
            xml.leaf("NbOfNtries", str(statement.entries))
            xml.leaf("Sum", _digits(statement, totals.credited + totals.debited))
            with xml.element("TtlNetNtry"):
                xml.leaf("Amt", _digits(statement, abs(net)))
                xml.leaf("CdtDbtInd", _side(net))
        for name, count, total in (
            ("TtlCdtNtries", totals.credits, totals.credited),
            ("TtlDbtNtries", totals.debits, totals.debited),
        ):
            with xml.element(name):
                xml.leaf("NbOfNtries", str(count))
                xml.leaf("Sum", _digits(statement, total))


def _entry(xml: _Xml, statement: Statement, line: Line) -> None:
    entry = line.entry
    with xml.element("Ntry"):
        xml.leaf("NtryRef", str(entry.seq))
        _amount(xml, statement, entry.amount)
        if entry.reverses is not None:
            xml.leaf("RvslInd", "true")
        with xml.element("Sts"):
            xml.leaf("Cd", "BOOK")
        with xml.element("BookgDt"):
            xml.leaf("Dt", day_of(entry.posted_at))
        with xml.element("ValDt"):
            xml.leaf("Dt", day_of(entry.effective_at))
        xml.leaf("AcctSvcrRef", str(entry.journal_id))
        with xml.element("BkTxCd"), xml.element("Prtry"):
            xml.leaf("Cd", entry.kind[:_MAX_CODE])
        with xml.element("NtryDtls"), xml.element("TxDtls"):
            with xml.element("Refs"):
                xml.leaf("AcctSvcrRef", str(entry.journal_id))
                xml.leaf("EndToEndId", _end_to_end(entry.end_to_end_id))
            _amount(xml, statement, entry.amount)
            if entry.text:
                text = _LINE_END.sub("\n", entry.text)
                with xml.element("RmtInf"):
                    for start in range(0, len(text), _MAX_TEXT):
                        xml.leaf("Ustrd", text[start : start + _MAX_TEXT])


def _end_to_end(reference: str | None) -> str:
    """The reference whole, or the word that stands for none: a part of it would be another."""
    return reference if reference and len(reference) <= _MAX_CODE else "NOTPROVIDED"


def _amount(xml: _Xml, statement: Statement, amount: int) -> None:
    """`Amt` and `CdtDbtInd`, which follow each other wherever there is an amount. Nothing counts as a credit."""
    xml.leaf("Amt", _digits(statement, abs(amount)), Ccy=statement.unit.code)
    xml.leaf("CdtDbtInd", _side(amount))


def _side(amount: int) -> str:
    return "CRDT" if amount >= 0 else "DBIT"


def _digits(statement: Statement, amount: int) -> str:
    if len(str(amount)) > _MAX_DIGITS:
        raise _not_expressible(f"an amount of more than {_MAX_DIGITS} digits")
    return format_minor(amount, statement.unit)


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _not_expressible(what: str) -> Invalid:
    return Invalid("statement_not_expressible", f"camt.053 has no room for {what}; ask for csv or json")


class _Xml:
    """Writes elements, to be taken away in pieces. Characters that XML cannot hold become U+FFFD."""

    def __init__(self) -> None:
        self._written: list[str] = []
        self.size = 0
        self._write('<?xml version="1.0" encoding="utf-8"?>\n')

    @contextmanager
    def element(self, name: str, **attributes: str) -> Iterator[None]:
        self._write(f"<{name}{_attributes(attributes)}>")
        yield
        self._write(f"</{name}>")

    def leaf(self, name: str, text: str, **attributes: str) -> None:
        self._write(f"<{name}{_attributes(attributes)}>{escape(_NOT_XML.sub(_REPLACEMENT, text))}</{name}>")

    def _write(self, text: str) -> None:
        self._written.append(text)
        self.size += len(text)

    def taken(self) -> bytes:
        """What was written since it was last taken."""
        written = "".join(self._written)
        self._written.clear()
        self.size = 0
        return written.encode()


def _attributes(attributes: dict[str, str]) -> str:
    return "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items())
