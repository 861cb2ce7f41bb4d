"""JSON with exact numbers: what is read as a decimal is kept, compared and written as that decimal.

`loads` is for input that nobody has checked: it is bounded in depth and refuses what PostgreSQL could not store.
"""

from __future__ import annotations

import hashlib
import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

import orjson

from tallystick.kit.errors import Invalid

MAX_DEPTH = 32
MAX_INTEGER = 2**63 - 1
MAX_BRACKETS = 100_000
_MAX_DIGITS = 40
_MAX_EXPONENT = 30
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"')
_NO_BRACKET = re.compile(r"[^\[\]{}]+")
_SUSPECT_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")


def loads(data: bytes | str, *, max_brackets: int = MAX_BRACKETS) -> Any:
    """Read JSON. Numbers with a fraction or an exponent become `Decimal`, others `int`.

    Refuses with `Invalid`: malformed JSON (`json_malformed`), NaN, infinities and numbers past 40 digits, past an exponent
    of 30 or, for integers, past 64 bits (`json_number`), nesting past 32 levels (`json_too_deep`), more arrays and objects
    than half of `max_brackets` (`json_too_large`), an object with a key twice (`json_duplicate_key`), and text that
    PostgreSQL cannot hold: U+0000 and lone surrogates (`json_text`).
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
    except UnicodeDecodeError as error:
        raise Invalid("json_malformed", f"the body is not UTF-8 at byte {error.start}") from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(text, max_brackets)
    try:
        value = _UNCHECKED.decode(text)
    except json.JSONDecodeError as error:
        raise Invalid("json_malformed", f"{error.msg.removesuffix(' at')} at character {error.pos}") from None
    except RecursionError:
        raise Invalid("json_too_deep", f"JSON may nest {MAX_DEPTH} levels") from None
    if _SUSPECT_ESCAPE.search(text):
        _check_text(value)
    return value


def loads_stored(data: bytes | str) -> Any:
    """Read JSON that PostgreSQL kept for us, with the same types as `loads` and without its bounds.

    PostgreSQL writes a number as it likes: what came in as `1e25` comes back as 26 digits, which `loads` would refuse. An
    integer past 64 bits becomes a `Decimal`, so that `dumps` can write it again.
    """
    return _STORED.decode(data if isinstance(data, str) else str(data, "utf-8"))


def dumps(value: Any) -> bytes:
    """Write JSON: keys sorted, no spaces, decimals as exact numbers. Equal values have equal bytes."""
    return orjson.dumps(value, default=_decimal_as_number, option=orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z)


def digest(value: Any) -> bytes:
    """SHA-256 (32 bytes) of the JSON of `value`."""
    return hashlib.sha256(dumps(value)).digest()


def _exact(literal: str) -> Decimal:
    try:
        number = Decimal(literal)
    except InvalidOperation:
        raise Invalid("json_number", "a number is out of range") from None
    _, digits, exponent = number.as_tuple()
    if len(digits) > _MAX_DIGITS or abs(number.adjusted()) > _MAX_EXPONENT or abs(int(exponent)) > _MAX_DIGITS:
        raise Invalid("json_number", f"numbers may have {_MAX_DIGITS} digits and exponents up to {_MAX_EXPONENT}")
    return number


def _bounded(literal: str) -> int:
    if len(literal) > 20 or abs(number := int(literal)) > MAX_INTEGER:
        raise Invalid("json_number", "integers may have 63 bits")
    return number


def _stored_integer(literal: str) -> int | Decimal:
    number = int(literal)
    return number if abs(number) <= MAX_INTEGER else Decimal(literal)


def _no_constant(literal: str) -> NoReturn:
    raise Invalid("json_number", f"{literal} is not a number")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # Readers differ in which of the two they take, so such a body says different things to different readers.
        raise Invalid("json_duplicate_key", "an object holds one key twice")
    return found


def _check_depth(text: str, max_brackets: int) -> None:
    brackets = _NO_BRACKET.sub("", _STRING.sub("", text))
    depth = 0
    for bracket in brackets[:max_brackets]:
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise Invalid("json_too_deep", f"JSON may nest {MAX_DEPTH} levels")
    if len(brackets) > max_brackets:
        raise Invalid("json_too_large", f"JSON may hold {max_brackets // 2} arrays and objects")


def _check_text(value: Any) -> None:
    if isinstance(value, str):
        if _NO_TEXT.search(value):
            raise Invalid("json_text", "text may not hold U+0000 or a lone surrogate")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key)
            _check_text(item)
    elif isinstance(value, list):
        for item in value:
            _check_text(item)


def _decimal_as_number(value: Any) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value))
    raise TypeError(f"{type(value).__name__} has no JSON form")


# Made once: `json.loads` would make one for every call, which takes longer than to read a small object.
_UNCHECKED = json.JSONDecoder(
    parse_float=_exact, parse_int=_bounded, parse_constant=_no_constant, object_pairs_hook=_no_key_twice
)
_STORED = json.JSONDecoder(parse_float=Decimal, parse_int=_stored_integer)
