"""Arrays that travel in PostgreSQL's binary form, packed at once: a third of the time that lists take element by element.

Source of the form: `array_recv` and the types' `recv` functions of PostgreSQL.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any, ClassVar, cast

import psycopg
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

_HEAD = struct.Struct(">iiIii")
_EMPTY = struct.Struct(">iiI")
_INT8 = struct.Struct(">iq")
_INT4 = struct.Struct(">ii")
_LENGTH = struct.Struct(">i")
_NULL = _LENGTH.pack(-1)


class _Array:
    """The bytes of an array parameter."""

    __slots__ = ("data",)
    element_oid: ClassVar[int]

    def __init__(self, pieces: bytes, count: int, *, nulls: bool = False) -> None:
        head = _HEAD.pack(1, int(nulls), self.element_oid, count, 1) if count else _EMPTY.pack(0, 0, self.element_oid)
        self.data = head + pieces


class _Int8s(_Array):
    __slots__ = ()
    element_oid = 20


class _Int4s(_Array):
    __slots__ = ()
    element_oid = 23


class _Texts(_Array):
    __slots__ = ()
    element_oid = 25


class _Bytes(_Array):
    __slots__ = ()
    element_oid = 17


def bigints(values: Sequence[int]) -> Any:
    """A `bigint[]` without nulls, each element within 64 bits."""
    return _Int8s(b"".join(map(_INT8.pack, repeat(8), values)), len(values))


def integers(values: Sequence[int]) -> Any:
    """An `integer[]` without nulls, each element within 32 bits."""
    return _Int4s(b"".join(map(_INT4.pack, repeat(4), values)), len(values))


def texts(values: Sequence[str | None]) -> Any:
    """A `text[]`."""
    encoded = [None if value is None else value.encode() for value in values]
    return _Texts(_pieces(encoded), len(values), nulls=None in encoded)


def byteas(values: Sequence[bytes | None]) -> Any:
    """A `bytea[]`."""
    return _Bytes(_pieces(values), len(values), nulls=None in values)


def sparse(values: Sequence[Any]) -> list[Any] | None:
    """Values most of which are usually absent: none at all where all are."""
    return None if values.count(None) == len(values) else list(values)


def _pieces(values: Sequence[bytes | None]) -> bytes:
    if None in values:
        return b"".join([_NULL if value is None else _LENGTH.pack(len(value)) + value for value in values])
    there = cast("Sequence[bytes]", values)
    return b"".join(chain.from_iterable(zip(map(_LENGTH.pack, map(len, there)), there, strict=True)))


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: _Array) -> Buffer | None:
        return obj.data


def _register(kind: type[_Array], oid: int) -> None:
    dumper = type(f"{kind.__name__}Dumper", (_ArrayDumper,), {"oid": oid})
    psycopg.adapters.register_dumper(kind, dumper)


_register(_Int8s, 1016)
_register(_Int4s, 1007)
_register(_Texts, 1009)
_register(_Bytes, 1001)
