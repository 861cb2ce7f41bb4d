"""Money and JSON: exact both ways, and refused where they are not."""

from __future__ import annotations

import gc
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.kit import (
    MAX_MINOR,
    Asset,
    Invalid,
    check_name,
    check_text,
    digest,
    dumps,
    format_minor,
    loads,
    parse_minor,
    parse_signed_minor,
    seldom_collected,
)

CZK = Asset("CZK", 2)
scales = st.integers(0, 9)


@given(st.integers(1, MAX_MINOR), scales)
def test_what_is_written_is_read_back(minor: int, scale: int) -> None:
    asset = Asset("X", scale)
    assert parse_minor(format_minor(minor, asset), asset) == minor
    assert parse_minor(Decimal(format_minor(minor, asset)), asset) == minor


@given(st.integers(-(10**18), 10**18), scales)
def test_a_written_amount_has_its_value_and_all_its_decimals(minor: int, scale: int) -> None:
    text = format_minor(minor, Asset("X", scale))
    assert Decimal(text) == Decimal(minor).scaleb(-scale)
    assert len(text.partition(".")[2]) == scale


@given(st.decimals(allow_nan=False, allow_infinity=False), scales)
def test_an_amount_is_exact_or_refused(amount: Decimal, scale: int) -> None:
    try:
        minor = parse_minor(amount, Asset("X", scale))
    except Invalid:
        return
    assert minor > 0
    numerator, denominator = amount.as_integer_ratio()
    assert numerator * 10**scale == minor * denominator


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        (Decimal("NaN"), "amount_malformed"),
        (Decimal("Infinity"), "amount_malformed"),
        ("NaN", "amount_malformed"),
        ("1e2", "amount_malformed"),
        ("1_000", "amount_malformed"),
        ("\u0661\u0662", "amount_malformed"),
        ("", "amount_malformed"),
        (" 1", "amount_malformed"),
        (0, "amount_not_positive"),
        ("-1.00", "amount_not_positive"),
        (Decimal("-0.00"), "amount_not_positive"),
        ("0.001", "amount_too_fine"),
        (Decimal("1E-400"), "amount_too_fine"),
        ("10.0000000000000000000000000000000000000001", "amount_too_fine"),
        (Decimal("1E+400"), "amount_too_large"),
        ("10000000000000.01", "amount_too_large"),
    ],
)
def test_an_amount_that_makes_no_sense_is_refused_by_name(amount: Decimal | int | str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_minor(amount, CZK)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("NaN", "json_number"),
        ("[Infinity]", "json_number"),
        ("1e400", "json_number"),
        ("1e-400", "json_number"),
        ("9" * 20, "json_number"),
        ("9" * 5000, "json_number"),
        ("0." + "1" * 50, "json_number"),
        ("[" * 33 + "]" * 33, "json_too_deep"),
        ("[" * 100_000, "json_too_deep"),
        ('{"a":' * 5000, "json_too_deep"),
        ('"\\u0000"', "json_text"),
        ('{"\\u0000": 1}', "json_text"),
        ('["\\ud800"]', "json_text"),
        ('{"a": 1, "a": 2}', "json_duplicate_key"),
        ('[{"b": {"a": 1, "c": 0, "a": 1}}]', "json_duplicate_key"),
        ("[" + "[]," * 60_000 + "[]]", "json_too_large"),
        ("{", "json_malformed"),
        ("", "json_malformed"),
        ('{"a": 1,}', "json_malformed"),
    ],
)
def test_json_that_cannot_be_kept_is_refused_by_name(text: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        loads(text)
    assert caught.value.code == code


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(Invalid, match="json_malformed"):
        loads(b'"\xff"')


def test_brackets_in_text_do_not_count_as_depth() -> None:
    assert loads('["' + "[" * 100 + '\\"["]') == ["[" * 100 + '"[']


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"))
    | st.decimals(-(10**9), 10**9, places=6),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0")), inner)
    ),
    max_leaves=10,
)


@given(json_values)
def test_json_is_read_back_as_it_was_written(value: object) -> None:
    assert loads(dumps(value)) == value
    json.loads(dumps(value))


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers(0, 9)))
def test_the_order_of_keys_does_not_change_the_digest(value: dict[str, int]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))


@pytest.mark.parametrize("name", ["", "a" * 101, "a b", "a/b", "a\n", "-a", "\0", "é"])
def test_a_name_that_is_not_safe_everywhere_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="name_malformed"):
        check_name(name, "a name")


@pytest.mark.parametrize("text", ["\0", "\ud800", "x" * 11])
def test_text_that_cannot_be_kept_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        check_text(text, "a text", 10)


@pytest.mark.parametrize(("amount", "minor"), [("-12.50", -1250), ("12.5", 1250), (-3, -300), (Decimal("-0.01"), -1)])
def test_a_signed_amount_gives_above_zero_and_takes_below(amount: Decimal | int | str, minor: int) -> None:
    assert parse_signed_minor(amount, Asset("CZK", 2)) == minor


@pytest.mark.parametrize(
    ("amount", "code"),
    [("0.00", "amount_is_zero"), ("-0", "amount_is_zero"), ("-0.001", "amount_too_fine"), ("--1", "amount_malformed"),
     ("-" + "9" * 20, "amount_too_large"), (Decimal("-Infinity"), "amount_malformed"), (Decimal("NaN"), "amount_malformed")],
)  # fmt: skip
def test_a_signed_amount_is_exact_or_refused(amount: Decimal | str, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_signed_minor(amount, Asset("CZK", 2))
    assert refused.value.code == code


def test_the_collector_looks_seldom_while_a_server_runs_and_as_before_afterwards() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with seldom_collected():
        assert gc.get_threshold()[0] > before[0]
        assert gc.get_freeze_count() > frozen
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)
