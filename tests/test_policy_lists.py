"""Lists of names and ids: how they are taken in, and how names are found on them."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick import audit, policy
from tallystick.cli.list_files import entries
from tallystick.db import Database
from tallystick.kit import Invalid, NotFound
from tallystick.policy.normal import id_form, name_form
from tests.conftest import ROOT, TestDatabase

RULES = {
    "name": "p",
    "rules": [
        {"id": "allowed", "allow": True},
        {"id": "sanctions", "list": {"name": "sanctions", "by": ["counterparty", "counterparty_name"]}},
        {"id": "partners", "list": {"name": "partners", "by": "counterparty", "mode": "allow"}, "otherwise": "hold"},
    ],
}


def _sanctions() -> Path:
    named = os.environ.get("TALLYSTICK_TEST_DATA")
    folder = (Path(named) if named else ROOT.parent / "shared/data") / "sanctions"
    if not folder.exists():
        pytest.skip("no lists of sanctions: TALLYSTICK_TEST_DATA names no folder with them")
    return folder


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("José GARCÍA-López", "garcia lopez, jose"),
        ("Łukasz Żółć", "zolc lukasz"),
        ("O'Brien, Pat", "PAT O BRIEN"),
        ("Straße & Söhne", "STRASSE SOHNE"),
        ("Ivan\u00a0 Petrov", "petrov ivan"),
    ],
)
def test_names_are_the_same_however_they_are_written(one: str, other: str) -> None:
    assert name_form(one) == name_form(other)


@given(st.text(max_size=40))
def test_a_normal_form_is_its_own(text: str) -> None:
    assert name_form(name_form(text)) == name_form(text)
    assert " " not in id_form(text)


UNSEEN = (
    "\u00ad", "\u034f", "\u061c", "\u115f", "\u1160", "\u17b4", "\u17b5", "\u180b", "\u180e", "\u180f", "\u200b", "\u200d",
    "\u200e", "\u202e", "\u2060", "\u2065", "\u2069", "\u3164", "\ufdd0", "\ufe0f", "\ufeff", "\uffa0", "\ufff0", "\ufffb",
    "\uffff", "\U0001bca0", "\U0001d173", "\U000e0001", "\U000e0041", "\U000e0100", "\x01", "\x1c", "\x7f", "\x80", "\x9f",
)  # fmt: skip


@pytest.mark.parametrize("sign", UNSEEN, ids=ascii)
def test_a_sign_that_shows_nothing_changes_no_name_and_no_id(sign: str) -> None:
    for at in range(len("Osama Bin Laden") + 1):
        assert name_form("Osama Bin Laden"[:at] + sign + "Osama Bin Laden"[at:]) == "bin laden osama"
        assert name_form("Józef Wałęsa"[:at] + sign + "Józef Wałęsa"[at:]) == "jozef walesa"
        assert id_form("DE89 3704-0044"[:at] + sign + "DE89 3704-0044"[at:]) == "de8937040044"
    assert name_form(sign) == id_form(sign) == ""


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("O\u0301sa\u20ddm\u0345a", "osama"),
        ("\uff2f\uff53\uff41\uff4d\uff41 \U0001d401\U0001d422\U0001d427", "bin osama"),
        ("\ufb01nn\u00b2", "finn2"),
        ("Osama\tBin\nLaden\u3000x", "bin laden osama x"),
        ("\u0928\u0930\u0947\u0902\u0926\u094d\u0930", "\u0928\u0930\u0926\u0930"),
    ],
)
def test_marks_and_compatible_forms_of_letters_split_no_word(written: str, form: str) -> None:
    assert name_form(written) == form


async def test_nobody_passes_a_list_by_signs_that_show_nothing(db: Database) -> None:
    async with db.write() as tx:
        await policy.import_list(tx, "sanctions", [("1", "Osama Bin Laden")], source="a file", by="ann")
        await policy.import_list(tx, "partners", [("CZ99", "CZ99")], kind="ids", source="a file", by="ann")
        await policy.apply(tx, RULES, by="ann")
    assert await _listed(db, counterparty="CZ99") == "allow"
    assert await _listed(db, counterparty="CZ99", counterparty_name="Osa\u200bma Bin La\u034fden") == "deny"
    # Letters to Python, and nothing to the eye: no name at all.
    assert await _listed(db, counterparty="CZ99", counterparty_name="\u3164\uffa0\u115f") == "hold"


async def _listed(db: Database, **facts: Any) -> str:
    about = {"action": "transfer", "kind": "agent", "roles": [], "counterparty": "CZ65 0800", "counterparty_name": None} | facts
    rules = policy.parse(RULES)
    async with db.write() as tx:
        usage = await policy.gather(tx, policy.Wanted(rules, [about]))
    usage.fill(about)
    return policy.evaluate(rules, about).outcome


async def test_what_is_imported_is_found_from_then_on_and_what_was_there_before_is_not(db: Database) -> None:
    async with db.write() as tx:
        await policy.import_list(tx, "partners", [("cz650800", "cz650800")], kind="ids", source="a", by="ann")
        first = await policy.import_list(tx, "sanctions", [("1", "Bob Brown"), ("1", "Robert Brown")], source="a", by="ann")
        event = await audit.latest(tx, subject_kind="list", subject_id=first.version)
    assert event is not None
    assert (event.verb, event.principal, event.detail["entries"]) == ("lists.import", "ann", 2)
    assert await _listed(db) == "allow"
    assert await _listed(db, counterparty="CZ99") == "hold"
    assert await _listed(db, counterparty_name="BROWN Robert") == "deny"
    async with db.write() as tx:
        await policy.import_list(tx, "sanctions", [("2", "Eve Green")], source="b", by="ann")
    assert await _listed(db, counterparty_name="BROWN Robert") == "allow"
    assert await _listed(db, counterparty_name="Eve Gréen") == "deny"
    async with db.read() as tx:
        assert [(one.name, one.entries) for one in await policy.lists(tx)] == [("partners", 1), ("sanctions", 1)]
        assert [one.entry_id for one in await policy.find(tx, "green eve")] == ["2"]
        with pytest.raises(NotFound, match="unknown_list"):
            await policy.get_list(tx, "nothing")


async def test_an_import_that_fails_leaves_the_list_as_it_was(db: Database) -> None:
    async with db.write() as tx:
        await policy.import_list(tx, "sanctions", [("1", "Bob Brown")], source="a", by="ann")
    with pytest.raises(Invalid, match="text_too_long"):
        async with db.write() as tx:
            await policy.import_list(tx, "sanctions", [("2", "x" * 501)], source="a", by="ann")
    async with db.read() as tx:
        assert [one.name for one in await policy.entries_of(tx, "sanctions")] == ["Bob Brown"]


async def test_nothing_is_slipped_into_a_list_in_use(db: Database, database: TestDatabase) -> None:
    async with db.write() as tx:
        info = await policy.import_list(tx, "partners", [("a", "a")], kind="ids", source="a", by="ann")
    with psycopg.connect(database.app_url) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(
            "insert into policy.list_entry (version, entry_id, name, normalized) values (%s, 'b', 'b', 'b')", (info.version,)
        )
    assert caught.value.sqlstate == "TS002"


def test_a_csv_needs_a_column_that_is_known(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("id,name\n7,Bob Brown\n8,\n,Eve\n")
    assert list(entries(file, "csv")) == [("7", "Bob Brown"), ("8", ""), ("line-4", "Eve")]
    file.write_text("who\nBob\n")
    with pytest.raises(Invalid, match="file_malformed"):
        list(entries(file, "csv"))
    with pytest.raises(Invalid, match="unknown_format"):
        list(entries(file, "pdf"))
    with pytest.raises(Invalid, match="file_unreadable"):
        list(entries(tmp_path / "nowhere.csv", "csv"))


def test_a_file_in_latin_1_is_read_as_such(tmp_path: Path) -> None:
    file = tmp_path / "list.csv.gz"
    file.write_bytes(gzip.compress("id,name\n1,José\n".encode("latin-1")))
    assert list(entries(file, "csv")) == [("1", "José")]


def test_xml_with_a_document_type_or_cut_off_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "un.xml"
    for text in ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "<CONSOLIDATED_LIST><INDIVIDUALS>"):
        file.write_text(text)
        with pytest.raises(Invalid, match="file_malformed"):
            list(entries(file, "un-xml"))


@pytest.mark.parametrize(
    ("file", "format", "least", "name"),
    [
        ("ofac_sdn_2019/sdn.csv.gz", "ofac-sdn", 16_000, "NATIONAL BANK OF CUBA"),
        ("ofac_nonsdn_2025/cons_prim.csv.gz", "ofac-sdn", 1_400, "Ismail HANIYA"),
        ("un/UN_consolidated.xml.gz", "un-xml", 1_000, "badege eric"),
        ("bis_dpl/dpl.txt.gz", "bis-dpl", 500, "Villa, Aaron Abraham"),
    ],
)
async def test_published_lists_are_taken_in(db: Database, file: str, format: str, least: int, name: str) -> None:
    async with db.write() as tx:
        info = await policy.import_list(tx, "sanctions", entries(_sanctions() / file, format), source=file, by="ann")
    assert info.entries >= least
    assert await _listed(db, counterparty_name=name, counterparty=None) == "deny"
