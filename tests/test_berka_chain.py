"""The order of an account's rows: any shuffled sound account is put in order, with as few roundings as can be."""

from __future__ import annotations

from itertools import chain as flat
from itertools import groupby, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.cli.berka.chain import BrokenChain, chain
from tallystick.cli.berka.model import Row

ROUNDINGS = (0, 10, -10)


def row(trans_id: int, day: int, amount: int, balance: int) -> Row:
    return Row(1, day, trans_id, amount, balance, code=0, bank="", file=0, line=trans_id)


@st.composite
def accounts(draw: st.DrawFn, most_rows: int, amounts: st.SearchStrategy[int]) -> tuple[int, list[Row], int]:
    """A balance to begin with, rows that follow from it in some order, shuffled, and how many of their steps are rounded."""
    start = balance = draw(st.integers(-50, 50)) * 10
    count = draw(st.integers(1, most_rows))
    numbers = draw(st.permutations(range(1, count + 1)))
    day, rounded, rows = 0, 0, []
    for number in numbers:
        day += draw(st.sampled_from((0, 0, 0, 1)))
        amount = draw(amounts)
        step = draw(st.sampled_from((0, 0, 0, 10, -10)))
        rounded += step != 0
        balance += amount + step
        rows.append(row(number, day, amount, balance))
    return start, draw(st.permutations(rows)), rounded


SMALL = st.one_of(
    accounts(6, st.integers(-3, 3).map(lambda number: number * 10)),
    accounts(6, st.integers(-2, 2).map(lambda number: number * 100)),
)
WIDE = accounts(40, st.integers(-10_000_000, 10_000_000))


def check(start: int, rows: list[Row], ordered: list[tuple[Row, int]]) -> int:
    """Whether `ordered` holds the rows, day by day, each following from the one before; how many steps are rounded."""
    assert sorted(row for row, _ in ordered) == sorted(rows)
    assert [row.day for row, _ in ordered] == sorted(row.day for row in rows)
    balance = start
    for row, rounding in ordered:
        assert rounding in ROUNDINGS
        assert row.balance == balance + row.amount + rounding
        balance = row.balance
    return sum(rounding != 0 for _, rounding in ordered)


def best_of_all(start: int, rows: list[Row]) -> tuple[int, tuple[int, ...]]:
    """The fewest roundings, and then the first numbers, by trying every order."""
    days = [list(day) for _, day in groupby(sorted(rows, key=lambda row: row.day), key=lambda row: row.day)]
    found = []
    for orders in product(*(permutations(day) for day in days)):
        balance, roundings = start, 0
        for row in flat(*orders):
            off = row.balance - row.amount - balance
            if off not in ROUNDINGS:
                break
            roundings += off != 0
            balance = row.balance
        else:
            found.append((roundings, tuple(row.trans_id for row in flat(*orders))))
    return min(found)


@given(WIDE)
def test_a_shuffled_sound_account_is_put_in_order(account: tuple[int, list[Row], int]) -> None:
    start, rows, rounded = account
    assert check(start, rows, chain(rows, start)) <= rounded


@given(SMALL)
def test_no_order_has_fewer_roundings_and_of_equals_the_first_by_number_is_taken(
    account: tuple[int, list[Row], int],
) -> None:
    start, rows, _ = account
    ordered = chain(rows, start)
    assert (check(start, rows, ordered), tuple(row.trans_id for row, _ in ordered)) == best_of_all(start, rows)


@given(SMALL, st.randoms())
def test_the_order_does_not_depend_on_the_order_of_the_rows(account: tuple[int, list[Row], int], random: st.DataObject) -> None:
    start, rows, _ = account
    again = list(rows)
    random.shuffle(again)  # type: ignore[attr-defined]
    assert chain(rows, start) == chain(again, start)


@given(SMALL, st.integers(0, 6))
def test_what_follows_a_first_part_is_the_order_of_the_rest(account: tuple[int, list[Row], int], cut: int) -> None:
    start, rows, _ = account
    ordered = chain(rows, start)
    balance = ordered[min(cut, len(ordered)) - 1][0].balance if cut else start
    assert chain([row for row, _ in ordered[cut:]], balance) == ordered[cut:]


def test_a_day_that_can_end_in_two_balances_is_decided_by_the_next_day() -> None:
    up, down = row(1, 0, 10, 110), row(2, 0, -10, 100)
    low, high = row(3, 1, 1000, 1090), row(3, 1, 1000, 1120)
    assert [(r.trans_id, rounding) for r, rounding in chain([up, down, low], 100)] == [(1, 0), (2, 0), (3, -10)]
    assert [(r.trans_id, rounding) for r, rounding in chain([up, down, high], 100)] == [(2, 10), (1, 0), (3, 10)]


def test_a_step_off_by_anything_but_a_rounding_is_an_error_at_its_row() -> None:
    rows = [row(1, 0, 700, 700), row(2, 1, 100, 811), row(3, 2, 5, 816)]
    with pytest.raises(BrokenChain) as broken:
        chain(rows, 0)
    assert broken.value.row.trans_id == 2
    assert "off by 0.11" in broken.value.reason


def test_an_opening_that_does_not_begin_at_the_balance_before_is_an_error() -> None:
    with pytest.raises(BrokenChain):
        chain([row(1, 0, 700, 900)], 0)
    assert chain([row(1, 0, 700, 900)], 200)


def test_many_equal_rows_in_a_day_are_no_work() -> None:
    rows = [row(2 * n + 1, 0, 100, 100) for n in range(200)] + [row(2 * n + 2, 0, -100, 0) for n in range(200)]
    assert [r.trans_id for r, _ in chain(rows, 0)] == list(range(1, 401))


def loops(amounts: list[int]) -> list[Row]:
    """Rows that each leave the balance 0 or come back to it, in one day."""
    pairs = [(row(2 * n, 0, amount, amount), row(2 * n + 1, 0, -amount, 0)) for n, amount in enumerate(amounts, 1)]
    return list(flat(*pairs))


def test_a_day_without_roundings_is_ordered_however_many_orders_there_are() -> None:
    rows = loops([100 * n for n in range(1, 201)])
    assert [r.trans_id for r, _ in chain(rows[::-1], 0)] == list(range(2, 402))


def test_a_day_with_roundings_and_too_many_possible_orders_is_an_error_and_no_endless_search() -> None:
    with pytest.raises(BrokenChain, match="too many ways"):
        chain(loops([10, *(100 * n for n in range(1, 25))]), 0)
