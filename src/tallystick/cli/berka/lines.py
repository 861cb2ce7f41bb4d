"""Lines of a gzipped table, as a stream: each field with its quotes taken off, each fault with the line it stands in."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

MAX_LINE = 10_000


class Malformed(Exception):
    """What is wrong with one line, or, where `fatal`, with the rest of the file."""

    def __init__(self, line: int, reason: str, *, fatal: bool = False, fields: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason
        self.fatal = fatal
        self.fields = fields


def table(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]] | Malformed]:
    """The lines of `path` after its header, from number 2 on, each with as many fields as there are `columns`.

    Faults come in their place among the lines; after a fatal one (the file is broken or its header another) nothing comes.
    """
    lines = _lines(path)
    header = next(lines, Malformed(1, "the file is empty", fatal=True))
    fields = header if isinstance(header, Malformed) else split(header[1])
    if isinstance(fields, Malformed):
        yield Malformed(1, fields.reason, fatal=True)
        return
    if tuple(fields) != columns:
        yield Malformed(1, f"the header is not {';'.join(columns)}", fatal=True)
        return
    width = len(columns)
    for found in lines:
        if isinstance(found, Malformed):
            yield found
            continue
        number, text = found
        fields = split(text)
        if isinstance(fields, Malformed):
            yield Malformed(number, fields.reason)
        elif len(fields) != width:
            yield Malformed(number, f"{len(fields)} columns instead of {width}", fields=tuple(fields))
        else:
            yield number, fields


def split(text: str) -> list[str] | Malformed:
    """The fields of a line: `;` separates, and a field may stand in double quotes as a whole."""
    fields = text.split(";")
    if '"' not in text:
        return fields
    for place, field in enumerate(fields):
        if '"' in field:
            if len(field) < 2 or field[0] != '"' or field[-1] != '"' or '"' in field[1:-1]:
                return Malformed(0, f"column {place + 1} is quoted wrongly")
            fields[place] = field[1:-1]
    return fields


def _lines(path: Path) -> Iterator[tuple[int, str] | Malformed]:
    """The lines of the file with their numbers; a file that cannot be read further ends with a fatal fault."""
    number = 0
    try:
        with gzip.open(path, "rb") as file:
            while line := file.readline(MAX_LINE):
                number += 1
                if len(line) == MAX_LINE and not line.endswith(b"\n"):
                    yield Malformed(number, f"the line is longer than {MAX_LINE} bytes", fatal=True)
                    return
                yield _text(number, line)
    except EOFError:
        yield Malformed(number + 1, "the file ends in the middle: it is cut off", fatal=True)
    except (gzip.BadGzipFile, zlib.error):
        yield Malformed(number + 1, "the file is not gzip, or it is damaged", fatal=True)
    except OSError as error:
        yield Malformed(number + 1, f"the file cannot be read: {error.strerror}", fatal=True)


def _text(number: int, line: bytes) -> tuple[int, str] | Malformed:
    try:
        return number, line.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        return Malformed(number, f"byte {error.start + 1} is not UTF-8")
