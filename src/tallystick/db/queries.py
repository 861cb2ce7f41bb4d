"""Named SQL: `queries.sql` in a room holds blocks that begin with `-- name --`; its store binds each to a row type."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, ClassVar, Generic, TypeVar

_HEAD = re.compile(r"^-- ([a-z][a-z0-9_]*) --$", re.MULTILINE)

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Query(Generic[Row]):
    """One statement and the class that its rows become; `row` is `None` where it returns nothing."""

    name: str
    statement: bytes
    row: type[Row]


class Queries:
    """The named statements of one room."""

    registry: ClassVar[list[Query[Any]]] = []
    """Every query that was bound, for the test that prepares each and compares its columns with its row class."""

    files: ClassVar[list[Queries]] = []
    """Every file that was read, for the test that no statement is left over. Modules of one package may share a file."""

    def __init__(self, package: str, file: str = "queries.sql") -> None:
        """Read a file of `package`, usually given as `__package__`; a large room has more than one."""
        self.package = package
        self.file = file
        text = files(package).joinpath(file).read_text("utf-8")
        parts = _HEAD.split(text)[1:]
        self._sql = {name: body.strip().encode() for name, body in zip(parts[::2], parts[1::2], strict=True)}
        self._unbound = set(self._sql)
        self.files.append(self)

    def bind(self, name: str, row: type[Row]) -> Query[Row]:
        """The statement called `name`, whose rows become `row`: a dataclass, or a plain type for a single column."""
        query = Query(f"{self.package}.{name}", self._sql[name], row)
        self._unbound.discard(name)
        self.registry.append(query)
        return query

    def command(self, name: str) -> Query[None]:
        """The statement called `name`, which returns no rows."""
        return self.bind(name, type(None))

    @property
    def unbound(self) -> frozenset[str]:
        """Statements of the file that no code uses."""
        return frozenset(self._unbound)
