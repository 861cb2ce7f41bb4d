"""camt.053: what we write is read back by us and by another's parser, and what strangers send is read or refused."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import typing
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiso20022.camt.camt_053_001_08 import Document  # type: ignore[import-untyped]
from xsdata.formats.dataclass.parsers import XmlParser
from xsdata.formats.dataclass.parsers.config import ParserConfig
from xsdata.formats.dataclass.serializers import XmlSerializer

from tallystick import ledger, statements
from tallystick.kit import Invalid, format_minor

SCALES = {"CZK": 2, "JPY": 0, "KWD": 3, "CLF": 4}
START = datetime(2026, 11, 1, tzinfo=UTC)
END = datetime(2026, 12, 1, tzinfo=UTC)


def _entry(seq: int, amount: int, **more: Any) -> ledger.PastEntry:
    moment = START + timedelta(hours=seq % 700)
    facts = {"journal_id": 1000 + seq, "kind": "transfer", "effective_at": moment, "posted_at": moment}
    return ledger.PastEntry(seq=seq, amount=amount, **{**facts, "reverses": None, "text": None, "end_to_end_id": None, **more})


def _statement(
    entries: list[ledger.PastEntry], *, asset: str = "CZK", opening: int = 0, name: str = "ACC123", scale: int | None = None
) -> statements.Statement:
    account = ledger.AccountRef(1, name, asset, SCALES.get(asset, 2) if scale is None else scale, "customer")
    debits = [-entry.amount for entry in entries if entry.amount < 0]
    credits = [entry.amount for entry in entries if entry.amount > 0]
    before = ledger.BalanceAt(5, max(-opening, 0), max(opening, 0))
    after = ledger.BalanceAt(5 + len(entries), before.dr + sum(debits), before.cr + sum(credits))
    span = ledger.Span(1, START, END, "posted", after.entries, before, after)
    totals = ledger.Totals(len(debits), sum(debits), len(credits), sum(credits))
    return statements.Statement(account, span, totals, END + timedelta(hours=4))


async def _lines(statement: statements.Statement, entries: list[ledger.PastEntry]) -> AsyncIterator[statements.Line]:
    balance = statement.opening
    for entry in entries:
        balance += entry.amount
        yield statements.Line(entry, balance)


def _chunks(statement: statements.Statement, entries: list[ledger.PastEntry]) -> list[bytes]:
    async def gather() -> list[bytes]:
        return [chunk async for chunk in statements.camt053_chunks(statement, _lines(statement, entries))]

    return asyncio.run(gather())


def _written(statement: statements.Statement, entries: list[ledger.PastEntry]) -> bytes:
    return b"".join(_chunks(statement, entries))


def _read(data: bytes) -> list[statements.StatementFile]:
    return statements.read_camt053(data, scale_of=SCALES.__getitem__)


xml_text = st.text(
    st.characters(codec="utf-8", exclude_characters="\r", min_codepoint=1).filter(
        lambda c: c in "\t\n" or (c >= " " and c not in "\ufffe\uffff")
    ),
    max_size=400,
)
texts = st.none() | st.sampled_from(['<a & "b">', "]]>", "<!--", "&amp;", "Žluťoučký kůň", "=1+1", "x" * 141]) | xml_text
moments = st.datetimes(START.replace(tzinfo=None), END.replace(tzinfo=None) - timedelta(seconds=1), timezones=st.just(UTC))
references = st.none() | st.from_regex(r"[A-Za-z0-9/?:().,'+ -]{1,35}", fullmatch=True).map(str.strip).map(lambda s: s or None)


@st.composite
def booked(draw: st.DrawFn) -> list[ledger.PastEntry]:
    """Entries as a statement may have them."""
    amounts = draw(st.lists(st.integers(-(10**15), 10**15).filter(bool), max_size=6))
    return [
        _entry(
            place + 6,
            amount,
            posted_at=draw(moments),
            effective_at=draw(moments) - timedelta(days=draw(st.integers(0, 400))),
            kind=draw(st.sampled_from(["transfer", "fee & <co>", "k" * 50])),
            reverses=draw(st.none() | st.integers(1, 9)),
            text=draw(texts),
            end_to_end_id=draw(references),
        )
        for place, amount in enumerate(amounts)
    ]


openings = st.integers(-(10**16), 10**16)
assets = st.sampled_from(sorted(SCALES))


@given(entries=booked(), asset=assets, opening=openings)
@settings(max_examples=150, deadline=None)
def test_what_is_written_is_read_back_equal(entries: list[ledger.PastEntry], asset: str, opening: int) -> None:
    statement = _statement(entries, asset=asset, opening=opening)
    (file,) = _read(_written(statement, entries))
    assert (file.statement_id, file.account, file.currency) == (statement.id, "ACC123", asset)
    assert (file.opening, file.closing, file.difference) == (opening, statement.closing, 0)
    assert file.lines == tuple(_as_line(number, entry) for number, entry in enumerate(entries, 1))


def _as_line(number: int, entry: ledger.PastEntry) -> statements.StatementLine:
    return statements.StatementLine(
        number=number,
        reference=str(entry.journal_id),
        amount=entry.amount,
        booked_on=entry.posted_at.date(),
        valued_on=entry.effective_at.date(),
        text=entry.text if entry.text and entry.text.strip() else None,
        end_to_end_id=entry.end_to_end_id,
    )


# The other parser: classes that were generated from the message's own schema, filled by xsdata.

_STRICT = ParserConfig(fail_on_unknown_properties=True, fail_on_unknown_attributes=True, fail_on_converter_warnings=True)


@given(entries=booked(), asset=assets, opening=openings)
@settings(max_examples=60, deadline=None)
def test_another_parser_reads_the_same(entries: list[ledger.PastEntry], asset: str, opening: int) -> None:
    statement = _statement(entries, asset=asset, opening=opening)
    written = _written(statement, entries)
    document = XmlParser(config=_STRICT).from_bytes(written, Document)
    (found,) = document.bk_to_cstmr_stmt.stmt
    unit = statement.unit
    assert (found.id, found.acct.id.othr.id, found.acct.ccy) == (statement.id, "ACC123", asset)
    assert found.fr_to_dt.fr_dt_tm.to_datetime() == START
    assert found.fr_to_dt.to_dt_tm.to_datetime() == END
    balances = {balance.tp.cd_or_prtry.cd: balance for balance in found.bal}
    assert {code: _signed(balance) for code, balance in balances.items()} == {
        "OPBD": Decimal(format_minor(opening, unit)),
        "CLBD": Decimal(format_minor(statement.closing, unit)),
    }
    assert (balances["OPBD"].dt.dt.to_date(), balances["CLBD"].dt.dt.to_date()) == (date(2026, 11, 1), date(2026, 11, 30))
    assert len(found.ntry) == len(entries)
    for ntry, entry in zip(found.ntry, entries, strict=True):
        assert (ntry.ntry_ref, ntry.acct_svcr_ref) == (str(entry.seq), str(entry.journal_id))
        assert _signed(ntry) == Decimal(format_minor(entry.amount, unit))
        assert ntry.amt.ccy == asset
        assert ntry.rvsl_ind is (True if entry.reverses is not None else None)
        assert (ntry.bookg_dt.dt.to_date(), ntry.val_dt.dt.to_date()) == (entry.posted_at.date(), entry.effective_at.date())
        assert ntry.sts.cd == "BOOK"
        assert ntry.bk_tx_cd.prtry.cd == entry.kind[:35]
        (details,) = ntry.ntry_dtls[0].tx_dtls
        assert details.refs.end_to_end_id == (entry.end_to_end_id or "NOTPROVIDED")
        assert _signed(details) == Decimal(format_minor(entry.amount, unit))
        assert "".join(details.rmt_inf.ustrd if details.rmt_inf else []) == (entry.text or "")
    summary = found.txs_summry
    assert summary.ttl_ntries.nb_of_ntries == str(len(entries))
    assert summary.ttl_cdt_ntries.sum - summary.ttl_dbt_ntries.sum == _signed(summary.ttl_ntries.ttl_net_ntry)
    _keeps_to_the_schema(document)
    assert _order(XmlSerializer().render(document).encode()) == _order(written)


def _signed(holder: Any) -> Decimal:
    amount = holder.amt.value if hasattr(holder.amt, "value") else holder.amt
    sign = {"CRDT": 1, "DBIT": -1}[getattr(holder.cdt_dbt_ind, "value", holder.cdt_dbt_ind)]
    return Decimal(amount) * sign


def _order(data: bytes) -> list[str]:
    """The elements' names in order: the serializer writes them in the order of the schema."""
    return [element.tag for element in ET.fromstring(data).iter()]


def _keeps_to_the_schema(value: Any, place: str = "Document") -> None:
    """Every value is within the lengths, digits and patterns of the schema, and what the schema asks for is there."""
    for field in dataclasses.fields(value):
        held = getattr(value, field.name)
        rules = field.metadata
        here = f"{place}/{rules.get('name', field.name)}"
        assert held is not None or not rules.get("required"), here
        for one in held if isinstance(held, list) else [held]:
            if dataclasses.is_dataclass(one):
                _keeps_to_the_schema(one, here)
            elif one is not None:
                _keeps_the_facets(one, rules, here)


def _keeps_the_facets(value: Any, rules: typing.Mapping[str, Any], here: str) -> None:
    if isinstance(value, str):
        assert len(value) >= rules.get("min_length", 0), here
        assert len(value) <= rules.get("max_length", 10**6), here
        assert "pattern" not in rules or re.fullmatch(rules["pattern"], value), (here, value)
    elif isinstance(value, Decimal):
        _, digits, exponent = value.as_tuple()
        assert value >= rules.get("min_inclusive", Decimal("-Infinity")), here
        assert len(digits) <= rules.get("total_digits", 10**6), here
        assert -int(exponent) <= rules.get("fraction_digits", 10**6), here


def test_the_other_parser_is_strict() -> None:
    entries = [_entry(6, -1250)]
    written = _written(_statement(entries), entries)
    with pytest.raises(Exception, match="Unknown"):
        XmlParser(config=_STRICT).from_bytes(written.replace(b"NtryRef", b"NtryRfr"), Document)
    swapped = re.sub(rb"(<BookgDt>.*</BookgDt>)(<ValDt>.*</ValDt>)", rb"\2\1", written)
    assert swapped != written
    document = XmlParser(config=_STRICT).from_bytes(swapped, Document)
    assert _order(XmlSerializer().render(document).encode()) != _order(swapped)


def test_a_file_of_many_entries_comes_in_pieces_and_is_one_document() -> None:
    entries = [_entry(6 + place, (-1) ** place * (place + 1)) for place in range(3000)]
    chunks = _chunks(_statement(entries), entries)
    assert len(chunks) > 5
    assert max(len(chunk) for chunk in chunks) < 80_000
    (file,) = _read(b"".join(chunks))
    assert [line.amount for line in file.lines] == [entry.amount for entry in entries]


def test_an_empty_period_has_both_balances_and_no_entry() -> None:
    (file,) = _read(_written(_statement([], opening=-5), []))
    assert (file.opening, file.closing, file.lines) == (-5, -5, ())


def test_what_xml_cannot_hold_is_replaced_and_the_file_is_whole() -> None:
    entries = [_entry(6, 1, text="a\x01b\x0bc\ufffe\r\nd\re")]
    (file,) = _read(_written(_statement(entries), entries))
    assert file.lines[0].text == "a\ufffdb\ufffdc\ufffd\nd\ne"


def test_a_reference_that_is_too_long_is_left_out_rather_than_cut() -> None:
    entries = [_entry(6, 1, end_to_end_id="x" * 36)]
    (file,) = _read(_written(_statement(entries), entries))
    assert file.lines[0].end_to_end_id is None


@pytest.mark.parametrize(
    "statement",
    [
        _statement([], asset="AAPL"),
        _statement([], asset="BTC", scale=8),
        _statement([], name="x" * 35),
        _statement([], opening=10**18),
    ],
)
def test_what_the_message_has_no_room_for_is_refused_before_the_first_piece(statement: statements.Statement) -> None:
    with pytest.raises(Invalid, match="statement_not_expressible"):
        _chunks(statement, [])


# What strangers send.


def _message(entries: str, *, version: str = "02", account: str = "<Id><IBAN>CZ6508000000192000145399</IBAN></Id>") -> bytes:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.{version}">
 <BkToCstmrStmt>
  <GrpHdr><MsgId>M1</MsgId><CreDtTm>2026-11-21T10:00:00</CreDtTm></GrpHdr>
  <Stmt>
   <Id>S1</Id>
   <Acct>{account}<Ccy>CZK</Ccy></Acct>
   <Bal><Tp><CdOrPrtry><Cd>PRCD</Cd></CdOrPrtry></Tp><Amt Ccy="CZK">10</Amt><CdtDbtInd>DBIT</CdtDbtInd>
        <Dt><Dt>2026-11-20</Dt></Dt></Bal>
   <Bal><Tp><CdOrPrtry><Cd>CLBD</Cd></CdOrPrtry></Tp><Amt Ccy="CZK">2.500</Amt><CdtDbtInd>CRDT</CdtDbtInd>
        <Dt><Dt>2026-11-21</Dt></Dt></Bal>
   {entries}
  </Stmt>
 </BkToCstmrStmt>
</Document>""".encode()


_NTRY = """<Ntry><Amt Ccy="CZK">12.50</Amt><CdtDbtInd>CRDT</CdtDbtInd>{status}
 <BookgDt><DtTm>2026-11-21T23:30:00+01:00</DtTm></BookgDt><ValDt><Dt>2026-11-22</Dt></ValDt>
 <AcctSvcrRef>B-7</AcctSvcrRef><NtryDtls>{details}</NtryDtls><AddtlNtryInf>what the bank says</AddtlNtryInf></Ntry>"""
_BOOKED = "<Sts>BOOK</Sts>"


@pytest.mark.parametrize("version", [f"{number:02}" for number in range(2, 14)])
@pytest.mark.parametrize("status", [_BOOKED, "<Sts><Cd>BOOK</Cd></Sts>"])
def test_every_version_is_read_alike(version: str, status: str) -> None:
    details = "<TxDtls><Refs><EndToEndId>E1</EndToEndId></Refs><RmtInf><Ustrd>one</Ustrd><Ustrd>two</Ustrd></RmtInf></TxDtls>"
    (file,) = _read(_message(_NTRY.format(status=status, details=details), version=version))
    assert (file.statement_id, file.account, file.currency) == ("S1", "CZ6508000000192000145399", "CZK")
    assert (file.opening, file.closing, file.difference) == (-1000, 250, 0)
    assert file.lines == (statements.StatementLine(1, "B-7", 1250, date(2026, 11, 21), date(2026, 11, 22), "one two", "E1"),)


def test_a_batch_is_taken_apart_where_its_parts_explain_it() -> None:
    part = '<TxDtls><Refs><EndToEndId>{}</EndToEndId></Refs><AmtDtls><TxAmt><Amt Ccy="CZK">{}</Amt></TxAmt></AmtDtls></TxDtls>'
    whole = part.format("E1", "2.50") + part.format("E2", "10.00")
    (file,) = _read(_message(_NTRY.format(status=_BOOKED, details=whole)))
    assert [(line.number, line.amount, line.end_to_end_id) for line in file.lines] == [(1, 250, "E1"), (2, 1000, "E2")]
    (file,) = _read(_message(_NTRY.format(status=_BOOKED, details=part.format("E1", "2.50") + part.format("E2", "9.99"))))
    assert [(line.amount, line.end_to_end_id, line.text) for line in file.lines] == [(1250, None, "what the bank says")]


@pytest.mark.parametrize("status", ["PDNG", "INFO", "FUTR"])
def test_what_is_not_booked_is_no_line(status: str) -> None:
    (file,) = _read(_message(_NTRY.format(status=f"<Sts><Cd>{status}</Cd></Sts>", details="")))
    assert file.lines == ()
    assert file.difference == 1250


def test_a_message_in_an_envelope_and_with_a_prefix_is_read() -> None:
    plain = _message(_NTRY.format(status=_BOOKED, details="")).split(b"\n", 1)[1]
    (expected,) = _read(plain)
    assert _read(b"<Envelope><AppHdr/>" + plain + b"</Envelope>") == [expected]
    prefixed = re.sub(rb"<(/?)([A-Z])", rb"<\1c:\2", plain).replace(b"xmlns=", b"xmlns:c=")
    assert _read(prefixed) == [expected]


_HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "no XML": b"%PDF-1.7",
    "cut off": _message(_NTRY.format(status=_BOOKED, details=""))[:900],
    "another message": b"<Document><BkToCstmrAcctRpt/></Document>",
    "no statement": b"<Document><BkToCstmrStmt/></Document>",
    "entity bomb": b'<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]><Document>&c;</Document>',
    "external entity": b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><Document>&b;</Document>',
    "parameter entity": b'<!DOCTYPE a [<!ENTITY % b SYSTEM "http://127.0.0.1/x"> %b;]><Document/>',
    "external subset": b'<!DOCTYPE a SYSTEM "http://127.0.0.1/x.dtd"><Document/>',
    "undeclared entity": b"<Document>&nbsp;</Document>",
    "depth": b"<Document>" + b"<a>" * 100_000,
    "elements in one entry": _message("<Ntry>" + "<a/>" * 30_000 + "</Ntry>"),
    "elements around the entries": _message("<a/>" * 30_000),
    "elements between the entries": _message(("<a/>" * 15_000 + _NTRY.format(status=_BOOKED, details="")) * 3),
    "encoding of nobody": b'<?xml version="1.0" encoding="klingon"?><Document/>',
    "encoding of several bytes": b'<?xml version="1.0" encoding="utf-7"?><Document/>',
    "no UTF-8": b"<Document>\xff</Document>",
    "a NUL": b"<Document>\x00</Document>",
    "xinclude": b'<Document xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="file:///etc/passwd"/></Document>',
}


@pytest.mark.parametrize("data", _HOSTILE.values(), ids=_HOSTILE.keys())
def test_hostile_xml_is_refused_with_its_line(data: bytes) -> None:
    with pytest.raises(Invalid, match=r"statement_malformed: line \d+: ") as caught:
        _read(data)
    assert "root:" not in caught.value.detail


@pytest.mark.parametrize(
    ("before", "text", "says"),
    [
        ('<!DOCTYPE Document [<!ENTITY e "S1">]>', "&e;", "document type"),
        ('<!DOCTYPE Document [<!ENTITY e SYSTEM "file:///etc/hostname">]>', "&e;", "document type"),
        ("<!DOCTYPE Document>", "S1", "document type"),
        ("", "<a>" * 50 + "S1" + "</a>" * 50, "deeper"),
    ],
)
def test_a_good_message_with_an_entity_or_great_depth_is_refused_for_just_that(before: str, text: str, says: str) -> None:
    head, body = _message(_NTRY.format(status=_BOOKED, details="")).decode().split("\n", 1)
    assert _read(f"{head}{body}".encode())
    with pytest.raises(Invalid, match=rf"statement_malformed: line \d+: .*{says}"):
        _read(f"{head}{before}{body.replace('<Id>S1</Id>', f'<Id>{text}</Id>')}".encode())


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("12.50", "12.505", 12, "decimals"),
        ("12.50", "-12.50", 12, "below zero"),
        ("12.50", "1e3", 12, "decimal number"),
        ("12.50", "NaN", 12, "decimal number"),
        ("12.50", "9" * 20, 12, "too large"),
        ('<Amt Ccy="CZK">12.50</Amt>', "", 12, "no Amt"),
        (' Ccy="CZK">12.50', ">12.50", 12, "no Ccy"),
        ('Ccy="CZK">12.50', 'Ccy="XXX">12.50', 12, "not known"),
        ('Ccy="CZK">12.50', 'Ccy="JPY">12', 5, "not all in the currency"),
        ("</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>", "</Amt><CdtDbtInd>BOTH</CdtDbtInd><Sts>", 12, "neither"),
        ("2026-11-22", "2026-02-30", 12, "day"),
        ("2026-11-22", "22.11.2026", 12, "day"),
        ("B-7", "B" * 3000, 12, "reference"),
        ("<Id>S1</Id>", "", 5, "no Id"),
        ("<Id><IBAN>CZ6508000000192000145399</IBAN></Id>", "", 5, "no account"),
    ],
)
def test_a_wrong_field_is_refused_with_its_line(old: str, new: str, line: int, says: str) -> None:
    good = _message(_NTRY.format(status=_BOOKED, details="")).decode()
    bad = good.replace(old, new, 1)
    assert bad != good
    with pytest.raises(Invalid, match=rf"statement_malformed: line {line}: .*{says}"):
        _read(bad.encode())


def test_a_file_that_is_too_large_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    good = _message(_NTRY.format(status=_BOOKED, details="") * 3)
    monkeypatch.setattr("tallystick.statements.limits.MAX_LINES", 2)
    with pytest.raises(Invalid, match="statement_too_large: line 16"):
        _read(good)
    monkeypatch.setattr("tallystick.statements.limits.MAX_BYTES", len(good) - 1)
    with pytest.raises(Invalid, match="statement_too_large: a statement's file"):
        _read(good)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_no_change_of_a_byte_is_more_than_a_refusal(data: st.DataObject) -> None:
    good = _message(_NTRY.format(status=_BOOKED, details="<TxDtls><Refs/></TxDtls>"))
    place = data.draw(st.integers(0, len(good) - 1))
    piece = data.draw(st.binary(max_size=3))
    changed = good[:place] + piece + good[place + data.draw(st.integers(0, 20)) :]
    try:
        found = _read(changed)
    except Invalid as refusal:
        code = refusal.code
    else:
        code = "" if found else "nothing"
    assert code in ("", "statement_malformed", "statement_too_large")
