"""The order of an account's rows: within a day the source's numbers say nothing, so the balances decide.

A row fits behind another when the other's balance and its own amount make its own balance, or miss it by exactly 0.10, as the
source rounds. Among all orders in which every row of the account fits, the one with the fewest roundings is taken; among
those, the one that is first by transaction numbers. That choice does not depend on how the rows were given, and what follows
a first part of it is the choice for the rest: an import that was cut off goes on as if it had not been.

The search goes forward, keeping for every state (which rows are placed, which balance was reached) the best way to it. Rows
of a day with the same amount and balance are interchangeable and are placed by number. Several balances may end a day: each is
carried on until the following days leave one. A day in which no two balances are a rounding apart needs no such search.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from tallystick.cli.berka.model import ROUNDING, Row, written

MAX_STEPS = 200_000
MAX_STEPS_A_ROW = 100
_STEPS = (0, -ROUNDING, ROUNDING)

Best = tuple[int, tuple[int, ...]]
"""Roundings, and the places of the day's rows in the order in which they are taken: less is better."""


State = tuple[int, tuple[int, ...]]
"""The balance that was reached, and how many rows of each kind (see `_kinds`) are placed."""


class BrokenChain(Exception):
    """No order of the rows makes the balances follow each other; `row` is where the best attempt ended."""

    def __init__(self, row: Row, reason: str) -> None:
        super().__init__(reason)
        self.row = row
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Path:
    """The best way to one balance at the end of a day; `rank` orders the ways of that day by transaction numbers."""

    end: int
    roundings: int
    rank: int
    parent: _Path | None
    rows: tuple[Row, ...]


class _Budget:
    """How many steps an account's search may still take: more for one with more rows, and an end for every one."""

    def __init__(self, rows: int) -> None:
        self._left = MAX_STEPS + MAX_STEPS_A_ROW * rows

    def spend(self, steps: int, day: tuple[Row, ...]) -> None:
        self._left -= steps
        if self._left < 0:
            raise BrokenChain(day[0], f"the {len(day)} rows of the day can be ordered in too many ways")


def chain(rows: Iterable[Row], start: int) -> list[tuple[Row, int]]:
    """Order the rows of one account, whose balance before them is `start`: each with its rounding (-10, 0 or 10).

    Raises `BrokenChain` where no order fits, or where more orders are possible than can be tried.
    """
    ordered: list[tuple[Row, int]] = []
    balance = start
    paths: list[_Path] = []
    in_order = sorted(rows, key=_by_day)
    budget = _Budget(len(in_order))
    for _, group in groupby(in_order, key=_day):
        day = tuple(group)
        if len(day) == 1 and not paths and (off := day[0].balance - day[0].amount - balance) in _STEPS:
            # Most days are like this one: nothing to choose.
            ordered.append((day[0], off))
            balance = day[0].balance
            continue
        paths = _continued(paths or [_Path(balance, 0, 0, None, ())], day, budget)
        if len(paths) == 1:
            balance = _settle(paths[0], balance, ordered)
            paths = []
    if paths:
        _settle(min(paths, key=lambda path: (path.roundings, path.rank)), balance, ordered)
    return ordered


def _by_day(row: Row) -> tuple[int, int]:
    return row.day, row.trans_id


def _day(row: Row) -> int:
    return row.day


def _continued(paths: Sequence[_Path], day: tuple[Row, ...], budget: _Budget) -> list[_Path]:
    """The best way to each balance that can end the day, in the order of their ranks."""
    best: dict[int, tuple[int, int, tuple[int, ...], _Path]] = {}
    for path in paths:
        for end, (roundings, places) in _ends(day, path.end, budget).items():
            candidate = (path.roundings + roundings, path.rank, places, path)
            if end not in best or candidate[:3] < best[end][:3]:
                best[end] = candidate
    if not best:
        raise _broken(day, paths[0].end, budget)
    ranked = sorted(best.items(), key=lambda item: item[1][1:3])
    return [
        _Path(end, roundings, rank, parent, tuple(day[place] for place in places))
        for rank, (end, (roundings, _, places, parent)) in enumerate(ranked)
    ]


def _settle(path: _Path, balance: int, ordered: list[tuple[Row, int]]) -> int:
    """Append the rows of a path to what is ordered, and return the balance that they end in."""
    days: list[tuple[Row, ...]] = []
    step: _Path | None = path
    while step is not None:
        days.append(step.rows)
        step = step.parent
    for rows in reversed(days):
        for row in rows:
            ordered.append((row, row.balance - row.amount - balance))
            balance = row.balance
    return balance


def _ends(day: tuple[Row, ...], start: int, budget: _Budget) -> dict[int, Best]:
    """Every balance in which the day can end when it begins with `start`, and the best order for it."""
    if len(day) == 1:
        off = day[0].balance - day[0].amount - start
        return {day[0].balance: (int(off != 0), (0,))} if off in _STEPS else {}
    if _may_round(day, start):
        layer: dict[State, Best] = {}
        for layer in _layers(day, start, budget):  # noqa: B007 - the last one is what is wanted
            pass
        return {balance: best for (balance, _), best in layer.items()}
    order = _exact(day, start)
    return {day[order[-1]].balance: (0, order)} if order else {}


def _may_round(day: tuple[Row, ...], start: int) -> bool:
    """Whether any two rows of the day could follow each other by a rounding."""
    before = {row.balance - row.amount for row in day}
    return any(after + step in before for after in (start, *(row.balance for row in day)) for step in _STEPS if step)


def _exact(day: tuple[Row, ...], start: int) -> tuple[int, ...]:
    """The first order by numbers in which every row follows without a rounding; nothing where there is none.

    Balances are places and rows are the ways between them, so this is a walk that takes each way once (Hierholzer 1873); taking
    the first way at each place, and inserting the detours that were left, gives the first such walk. All of them end alike.
    """
    ways: dict[int, list[int]] = {}
    for place in reversed(range(len(day))):
        ways.setdefault(day[place].balance - day[place].amount, []).append(place)
    walk: list[int] = []
    trail: list[int | None] = [None]
    while trail:
        last = trail[-1]
        here = start if last is None else day[last].balance
        if ways.get(here):
            trail.append(ways[here].pop())
        elif (done := trail.pop()) is not None:
            walk.append(done)
    walk.reverse()
    balances = [start, *(day[place].balance for place in walk)]
    follows = all(day[place].balance - day[place].amount == balance for place, balance in zip(walk, balances, strict=False))
    return tuple(walk) if follows and len(walk) == len(day) else ()


def _layers(day: tuple[Row, ...], start: int, budget: _Budget) -> Iterator[dict[State, Best]]:
    """After each row placed: the states that can be reached and the best way to each."""
    kinds = _kinds(day)
    by_balance_before: dict[int, list[int]] = {}
    for number, (before, _) in enumerate(kinds):
        by_balance_before.setdefault(before, []).append(number)
    places = list(kinds.values())
    after = [balance for _, balance in kinds]
    layer: dict[State, Best] = {(start, (0,) * len(kinds)): (0, ())}
    for _ in day:
        following: dict[State, Best] = {}
        for (balance, placed), (roundings, order) in layer.items():
            for step in _STEPS:
                for number in by_balance_before.get(balance + step, ()):
                    budget.spend(1, day)
                    if placed[number] == len(places[number]):
                        continue
                    state = (after[number], (*placed[:number], placed[number] + 1, *placed[number + 1 :]))
                    way = (roundings + (step != 0), (*order, places[number][placed[number]]))
                    if state not in following or way < following[state]:
                        following[state] = way
        layer = following
        yield layer


def _kinds(day: tuple[Row, ...]) -> dict[tuple[int, int], list[int]]:
    """The places of the day's rows by the balances before and after them; rows that agree in both are interchangeable."""
    kinds: dict[tuple[int, int], list[int]] = {}
    for place, row in enumerate(day):
        kinds.setdefault((row.balance - row.amount, row.balance), []).append(place)
    return kinds


def _broken(day: tuple[Row, ...], start: int, budget: _Budget) -> BrokenChain:
    """Say where the attempt that came furthest ended: the row that misses its balance by the least."""
    balance = start
    order: tuple[int, ...] = ()
    for layer in _layers(day, start, budget):
        if not layer:
            break
        (balance, _), (_, order) = min(layer.items(), key=lambda item: item[1])
    left = [row for place, row in enumerate(day) if place not in order]
    row = min(left, key=lambda row: (abs(row.balance - row.amount - balance), row.trans_id))
    off = row.balance - row.amount - balance
    return BrokenChain(
        row,
        f"balance {written(row.balance)} of account {row.account_id} does not follow from "
        f"{written(balance)} and {written(row.amount)}: it is off by {written(off)}",
    )
