"""Values as plain JSON, and as the types that an agent's author declares.

Plain JSON is what is read again later: None, bool, int, `Decimal`, text, list and dict. A value is made plain before it is
kept, and what is handed on is the plain one; so a task that goes on after a crash sees the very values that it saw before it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import typing
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from functools import lru_cache, partial
from typing import Any, NoReturn
from uuid import UUID

import orjson
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from tallystick.sdk.errors import NotJson

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
_MAX_INTEGER = 2**63 - 1
_MAX_DIGITS = 400
_UNTYPED = frozenset({Any, None, type(None), object, dict, Mapping, inspect.Signature.empty})


class Shape:
    """A declared type: reads plain JSON into it, and writes its values as plain JSON."""

    __slots__ = ("_adapter",)

    def __init__(self, annotation: Any) -> None:
        self._adapter: TypeAdapter[Any] = TypeAdapter(annotation)

    def read(self, value: Any) -> Any:
        """The value as the declared type; refuses with `NotJson`, and does not tell what the value was."""
        try:
            return self._adapter.validate_python(value)
        except ValidationError as error:
            raise NotJson(_faults(error)) from None

    def write(self, value: Any, what: str) -> Any:
        """A value of the declared type, or one that can be read as it, as plain JSON; `what` is what an error calls it."""
        try:
            made = self.read(value)
        except NotJson as error:
            raise NotJson(f"{what} is not what is declared: {error}") from None
        return keep(self._adapter.dump_python(made, by_alias=True), what)


def shape_of(annotation: Any) -> Shape | None:
    """The shape that an annotation declares, or None where it leaves the value as it is."""
    try:
        return None if annotation in _UNTYPED or isinstance(annotation, typing.TypeVar) else _shape(annotation)
    except TypeError:
        return Shape(annotation)


def returned_by(fn: Callable[..., Any]) -> Shape | None:
    """The shape of what a function gives, by its annotation; None where it has none that can be read as JSON."""
    while isinstance(fn, partial):
        fn = fn.func
    if not inspect.isroutine(fn):
        fn = type(fn).__call__
    try:
        annotation = typing.get_type_hints(fn).get("return")
        if typing.get_origin(annotation) in (Awaitable, Coroutine):
            annotation = typing.get_args(annotation)[-1]
        return shape_of(annotation)
    except (NameError, TypeError, AttributeError, PydanticUserError):
        return None


def keep(value: Any, what: str, *, max_bytes: int = MAX_BYTES) -> Any:
    """The value as plain JSON; refuses with `NotJson` what has no exact JSON form, or more than `max_bytes` as JSON."""
    try:
        made = plain(value)
    except NotJson as error:
        raise NotJson(f"{what} {error}") from None
    size = len(_encoded(made, _as_it_is))
    if size > max_bytes:
        raise NotJson(f"{what} has {size} bytes as JSON; it may have {max_bytes}")
    return made


def as_text(value: Any) -> str:
    """Plain JSON as text."""
    return _encoded(value, _as_it_is).decode()


def digest(value: Any) -> bytes:
    """SHA-256 (32 bytes) of plain JSON in one form: keys sorted, and equal numbers written alike, be it 1.5 or 1.50."""
    return hashlib.sha256(_encoded(value, _canonical)).digest()


def plain(value: Any, depth: int = 0) -> Any:
    """The value as it will be read again. Refuses with `NotJson`."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return _text(value)
    if kind is int:
        return value if -_MAX_INTEGER <= value <= _MAX_INTEGER else _number(Decimal(value))
    if kind is Decimal:
        return _number(value)
    if kind is float:
        # The shortest text that means this float is what its JSON holds, and so what will be read again.
        return _number(Decimal(repr(value)))
    if depth >= MAX_DEPTH:
        raise NotJson(f"nests deeper than {MAX_DEPTH} levels")
    if kind is dict:
        return _object(value, depth + 1)
    if kind is list or kind is tuple:
        return [plain(item, depth + 1) for item in value]
    return plain(_unwrapped(value), depth + 1)


def _text(value: str) -> str:
    if "\x00" in value:
        raise NotJson("holds U+0000 in a text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise NotJson("holds a lone surrogate in a text") from None
    return value


def _number(value: Decimal) -> Decimal | int:
    if not value.is_finite():
        raise NotJson("holds a number that is not finite")
    if not value:
        value = value.copy_abs()
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or max(len(value.as_tuple().digits), abs(value.adjusted()), abs(exponent)) > _MAX_DIGITS:
        raise NotJson(f"holds a number of more than {_MAX_DIGITS} digits")
    if exponent < 0:
        return value
    number = int(value)
    return number if abs(number) <= _MAX_INTEGER else Decimal(number)


def _object(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    made = {_key(key): plain(item, depth) for key, item in value.items()}
    if len(made) != len(value):
        raise NotJson("holds an object in which two keys are one as text")
    return made


def _key(key: Any) -> str:
    if type(key) is str:
        return _text(key)
    made = plain(key, MAX_DEPTH - 1)
    if made is None or isinstance(made, bool | list | dict):
        raise NotJson(f"holds an object with a key of type {type(key).__name__}")
    return str(made)


def _unwrapped(value: Any) -> Any:
    """One layer less of a value that is not JSON by itself."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _adapter(type(value)).dump_python(value, by_alias=True)
    for kinds, unwrap in _LAYERS:
        if isinstance(value, kinds):
            return unwrap(value)
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError:
        raise NotJson(f"holds a value of type {type(value).__name__}, which has no JSON form") from None


def _in_order(value: set[Any] | frozenset[Any]) -> list[Any]:
    """Sets have no order of their own, and what is hashed and kept needs one."""
    return sorted((plain(item) for item in value), key=lambda item: _encoded(item, _canonical))


_LAYERS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (BaseModel, lambda value: value.model_dump(by_alias=True)),
    (Enum, lambda value: value.value),
    ((datetime, date, time), lambda value: value.isoformat()),
    (UUID, str),
    (Mapping, dict),
    ((list, tuple), list),
    ((set, frozenset), _in_order),
    # What derives from these may print itself as it likes.
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (Decimal, Decimal),
)


def _encoded(value: Any, number: Callable[[Any], Any]) -> bytes:
    return orjson.dumps(value, default=number, option=orjson.OPT_SORT_KEYS)


def _as_it_is(value: Any) -> Any:
    return orjson.Fragment(str(value)) if type(value) is Decimal else _no_form(value)


def _canonical(value: Any) -> Any:
    if type(value) is not Decimal:
        _no_form(value)
    text = format(value, "f")
    return orjson.Fragment(text.rstrip("0").rstrip(".") if "." in text else text)


def _no_form(value: Any) -> NoReturn:
    raise TypeError(f"{type(value).__name__} is not plain")


def _faults(error: ValidationError) -> str:
    """Where and how a value is wrong: names of fields and kinds of faults, never the value."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    told = ", ".join(f"{'.'.join(str(part) for part in fault['loc']) or 'value'} ({fault['type']})" for fault in faults[:5])
    return told if len(faults) <= 5 else f"{told} and {len(faults) - 5} more"


@lru_cache(maxsize=1024)
def _shape(annotation: Any) -> Shape:
    return Shape(annotation)


@lru_cache(maxsize=1024)
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)
