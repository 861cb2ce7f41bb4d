"""Values as plain JSON: what is kept is what is read again, exactly."""

from __future__ import annotations

import enum
import json
from collections import OrderedDict, namedtuple
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from tallystick import kit
from tallystick.sdk import NotJson, codec

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
numbers = (
    st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False, min_value=1e-30, max_value=1e30)
    | st.decimals(-(10**9), 10**9, places=6)
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


class Kind(enum.Enum):
    ONE = "one"


class Name(enum.StrEnum):
    A = "a"


class Risk(BaseModel):
    from_account: str = Field(alias="from")
    score: float
    limit: Decimal


@dataclass(frozen=True, slots=True)
class Pair:
    risk: Risk
    days: tuple[date, ...]


Point = namedtuple("Point", "x y")


@given(values)
def test_what_is_kept_is_what_the_database_gives_back(value: Any) -> None:
    """Through the writer and the reader that the rooms have for stored JSON."""
    kept = codec.plain(value)
    again = kit.loads_stored(kit.dumps(kept))
    assert again == kept
    assert _sorted(codec.plain(again)) == _sorted(kept)


@given(values)
def test_making_plain_what_is_plain_changes_nothing(value: Any) -> None:
    kept = codec.plain(value)
    assert repr(codec.plain(kept)) == repr(kept)


@given(values)
def test_the_digest_of_a_value_is_that_of_what_is_read_again(value: Any) -> None:
    kept = codec.plain(value)
    assert codec.digest(kept) == codec.digest(codec.plain(kit.loads_stored(kit.dumps(kept))))
    assert codec.digest(kept) == codec.digest(codec.plain(json.loads(codec.as_text(kept), parse_float=Decimal)))


@given(values, values)
def test_values_have_the_same_digest_if_and_only_if_they_are_equal(one: Any, other: Any) -> None:
    left, right = codec.plain(one), codec.plain(other)
    # Python takes True for 1, which JSON does not.
    is_same = left == right and _types(left) == _types(right)
    assert (codec.digest(left) == codec.digest(right)) == is_same


@given(st.decimals(-(10**9), 10**9, places=3), st.integers(0, 5))
def test_a_number_has_one_digest_however_many_zeros_end_it(number: Decimal, zeros: int) -> None:
    longer = Decimal(f"{number}{'0' * zeros}")
    assert (
        codec.digest(codec.plain(longer)) == codec.digest(codec.plain(number)) == codec.digest(codec.plain(+number.normalize()))
    )


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (0.1, Decimal("0.1")),
        (1e22, Decimal(10**22)),
        (-0.0, Decimal("0.0")),
        (Decimal("1E+2"), 100),
        (Decimal("1.50"), Decimal("1.50")),
        (2**63, Decimal(2**63)),
        ((1, 2), [1, 2]),
        ({3, 1, 2}, [1, 2, 3]),
        (Point(1, 2), [1, 2]),
        (OrderedDict(a=1), {"a": 1}),
        ({1: "a", Name.A: "b"}, {"1": "a", "a": "b"}),
        (Kind.ONE, "one"),
        (Name.A, "a"),
        (datetime(2026, 11, 20, 1, 2, tzinfo=UTC), "2026-11-20T01:02:00+00:00"),
        (date(2026, 11, 20), "2026-11-20"),
        (timedelta(days=1), "P1D"),
        (UUID(int=3), "00000000-0000-0000-0000-000000000003"),
        (
            Pair(Risk.model_validate({"from": "ACC1", "score": 0.5, "limit": "12.50"}), (date(2026, 11, 20),)),
            {"risk": {"from": "ACC1", "score": Decimal("0.5"), "limit": Decimal("12.50")}, "days": ["2026-11-20"]},
        ),
    ],
)
def test_values_of_all_kinds_have_one_plain_form(value: Any, kept: Any) -> None:
    assert repr(codec.plain(value)) == repr(kept)


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "it holds a number that is not finite"),
        (float("inf"), "it holds a number that is not finite"),
        (Decimal("sNaN"), "it holds a number that is not finite"),
        (Decimal("1E+999999"), "it holds a number of more than 400 digits"),
        (10**500, "it holds a number of more than 400 digits"),
        ("a\x00", "it holds U+0000 in a text"),
        ({"a\x00": 1}, "it holds U+0000 in a text"),
        ("\ud800", "it holds a lone surrogate in a text"),
        (object(), "it holds a value of type object, which has no JSON form"),
        (len, "it holds a value of type builtin_function_or_method, which has no JSON form"),
        ({None: 1}, "it holds an object with a key of type NoneType"),
        ({(1, 2): 1}, "it holds an object with a key of type tuple"),
        ({1: "a", "1": "b"}, "it holds an object in which two keys are one as text"),
        (_deep(33), "it nests deeper than 32 levels"),
        ("x" * 262_143, "it has 262145 bytes as JSON; it may have 262144"),
    ],
)
def test_what_has_no_exact_form_is_refused(value: Any, message: str) -> None:
    with pytest.raises(NotJson) as refusal:
        codec.keep(value, "it")
    assert str(refusal.value) == message


def test_what_is_just_within_the_bounds_is_kept() -> None:
    assert codec.keep(_deep(32), "it") == _deep(32)
    assert codec.keep("x" * 262_142, "it") == "x" * 262_142


def _gives_float() -> float: ...  # type: ignore[empty-body]


async def _gives_pair() -> Pair: ...  # type: ignore[empty-body]


def _gives_pair_later() -> Awaitable[Pair]: ...  # type: ignore[empty-body]


def _gives_anything() -> Any: ...


def _gives_nothing() -> None: ...


class Callable_:
    def __call__(self) -> float: ...  # type: ignore[empty-body]


@pytest.mark.parametrize("fn", [_gives_float, partial(_gives_float), Callable_(), Callable_().__call__])
def test_the_type_of_what_a_function_gives_is_found(fn: Any) -> None:
    shape = codec.returned_by(fn)
    assert shape is not None
    assert repr(shape.read(Decimal("0.5"))) == "0.5"


@pytest.mark.parametrize("fn", [_gives_pair, _gives_pair_later])
def test_a_value_goes_through_its_plain_form_and_back(fn: Any) -> None:
    pair = Pair(Risk.model_validate({"from": "ACC1", "score": 0.5, "limit": "12.50"}), (date(2026, 11, 20),))
    shape = codec.returned_by(fn)
    assert shape is not None
    assert shape.read(codec.plain(pair)) == pair


@pytest.mark.parametrize("fn", [_gives_anything, _gives_nothing, lambda: 1, print])
def test_what_declares_nothing_stays_as_it_is(fn: Any) -> None:
    assert codec.returned_by(fn) is None


def test_a_fault_names_the_field_and_not_the_value() -> None:
    shape = codec.shape_of(Risk)
    assert shape is not None
    with pytest.raises(NotJson) as refusal:
        shape.read({"from": "ACC1", "score": "CZ6508000000192000145399"})
    assert str(refusal.value) == "score (float_parsing), limit (missing)"


def _sorted(value: Any) -> str:
    """A value with the types of its numbers, in one order."""
    if isinstance(value, dict):
        return repr([(key, _sorted(value[key])) for key in sorted(value)])
    return repr([_sorted(item) for item in value]) if isinstance(value, list) else repr(value)


def _types(value: Any) -> Any:
    """Where the booleans are."""
    if isinstance(value, dict):
        return {key: _types(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_types(item) for item in value]
    return isinstance(value, bool)
