"""Files of names as those who publish lists write them, read entry by entry."""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from xml.parsers import expat

from tallystick.kit import Invalid
from tallystick.policy import Entry

FORMATS = ("csv", "ofac-sdn", "un-xml", "bis-dpl")
_CHUNK = 64 * 1024
_NOTHING = "-0-"
_END_OF_FILE = "\x1a"


def entries(file: Path, format: str) -> Iterator[Entry]:
    """The ids and names of a file, packed with gzip or not. Refuses with `Invalid` (`file_malformed`, `file_unreadable`).

    `csv` has a column `name`, `id`, or both. `ofac-sdn` is the file of primary names (`sdn.csv`, `cons_prim.csv`), beside
    which that of the other names is read, too, where it lies there (`alt.csv`, `cons_alt.csv`).
    """
    try:
        if format == "csv":
            yield from _csv(file)
        elif format == "ofac-sdn":
            yield from _ofac(file)
        elif format == "un-xml":
            yield from _un(file)
        elif format == "bis-dpl":
            yield from _bis(file)
        else:
            raise Invalid("unknown_format", f"a format is one of {', '.join(FORMATS)}")
    except (OSError, EOFError) as error:
        raise Invalid("file_unreadable", f"{file}: {getattr(error, 'strerror', None) or error}") from None
    except csv.Error as error:
        raise Invalid("file_malformed", f"{file.name}: {error}") from None


def _csv(file: Path) -> Iterator[Entry]:
    with _opened(file) as stream:
        reader = csv.DictReader(_lines(stream))
        columns = set(reader.fieldnames or ())
        if not columns & {"name", "id"}:
            raise Invalid("file_malformed", f"{file.name}: there is no column `name` and no column `id`")
        for row in reader:
            entry_id = (row.get("id") or f"line-{reader.line_num}").strip()
            name = (row.get("name") if "name" in columns else entry_id) or ""
            # One without a name goes on, too: whoever takes them in counts what was left out.
            yield entry_id, name.strip()


def _ofac(file: Path) -> Iterator[Entry]:
    # Column 1 is the number of the entry, column 2 its name.
    yield from _ofac_names(file, column=1)
    other = file.with_name(file.name.replace("sdn", "alt").replace("prim", "alt"))
    if other != file and other.exists():
        yield from _ofac_names(other, column=3)


def _ofac_names(file: Path, *, column: int) -> Iterator[Entry]:
    with _opened(file) as stream:
        for row in csv.reader(_lines(stream)):
            if len(row) <= column or row[0] == _END_OF_FILE:
                continue
            if row[column].strip() not in ("", _NOTHING):
                yield row[0].strip(), row[column].strip()


def _bis(file: Path) -> Iterator[Entry]:
    with _opened(file) as stream:
        reader = csv.DictReader(_lines(stream), delimiter="\t")
        if "Name" not in (reader.fieldnames or ()):
            raise Invalid("file_malformed", f"{file.name}: there is no column `Name`")
        for row in reader:
            name = (row["Name"] or "").strip()
            if name:
                # Orders have no numbers, so one is made of what they are.
                digest = hashlib.sha256(f"{name}|{row.get('Effective_Date')}".encode()).hexdigest()
                yield f"dpl-{digest[:16]}", name


def _un(file: Path) -> Iterator[Entry]:
    reader = _UnReader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.doctype
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                parser.Parse(chunk)
                yield from reader.taken()
            parser.Parse(b"", True)
            yield from reader.taken()
    except expat.ExpatError as error:
        raise Invalid("file_malformed", f"{file.name}: {error}") from None


class _UnReader:
    """Collects the entries of the United Nations' consolidated list from the events of a parser."""

    _NAMES = ("FIRST_NAME", "SECOND_NAME", "THIRD_NAME", "FOURTH_NAME")

    def __init__(self) -> None:
        self._found: list[Entry] = []
        self._path: list[str] = []
        self._text: list[str] = []
        self._fields: dict[str, str] = {}
        self._aliases: list[str] = []

    def start(self, tag: str, _attributes: dict[str, str]) -> None:
        self._path.append(tag)
        self._text = []
        if tag in ("INDIVIDUAL", "ENTITY"):
            self._fields, self._aliases = {}, []

    def text(self, data: str) -> None:
        self._text.append(data)

    def end(self, tag: str) -> None:
        self._path.pop()
        text = " ".join("".join(self._text).split())
        self._text = []
        inside = self._path[-1] if self._path else ""
        if inside in ("INDIVIDUAL", "ENTITY") and (tag in self._NAMES or tag == "DATAID"):
            self._fields[tag] = text
        elif tag == "ALIAS_NAME":
            self._aliases += [alias.strip() for alias in text.split(";") if alias.strip()]
        elif tag in ("INDIVIDUAL", "ENTITY") and "DATAID" in self._fields:
            name = " ".join(self._fields[part] for part in self._NAMES if self._fields.get(part))
            self._found += [(self._fields["DATAID"], one) for one in [name, *self._aliases] if one]

    def doctype(self, *_: object) -> None:
        # All attacks by entities begin with one, and the list has none.
        raise Invalid("file_malformed", "the file declares a document type")

    def taken(self) -> list[Entry]:
        found, self._found = self._found, []
        return found


def _opened(file: Path) -> IO[str]:
    # What is not UTF-8 is told line by line, as some lists are in Latin-1.
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="")
    return file.open("rt", encoding="utf-8-sig", errors="surrogateescape", newline="")


def _lines(stream: IO[str]) -> Iterator[str]:
    for line in stream:
        plain = line.replace("\x00", "")
        try:
            plain.encode()
        except UnicodeEncodeError:
            plain = plain.encode("utf-8", "surrogateescape").decode("latin-1")
        yield plain
