"""Reading a document piece by piece, with every problem named by its place.

A piece that is wrong leaves a problem behind and yields something of the right type, so that one reading finds all problems.
What was read is used only where there are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

MAX_PROBLEMS = 100
ROLES = ("admin", "approver", "auditor", "operator")
DAY_S = 86_400
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": DAY_S}
_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhd])")
_DECIMAL = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,12})?")
_ASSET = re.compile(r"[A-Z0-9][A-Z0-9._-]{0,19}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


@dataclass(slots=True)
class Spot:
    """A piece of the document, and where it stands."""

    value: Any
    place: str
    problems: list[str] = field(default_factory=list)

    def wrong(self, problem: str) -> None:
        """Note what is wrong here."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{self.place}: {problem}" if self.place else problem)

    def at(self, key: str) -> Spot:
        """The piece under a key; a null where there is none."""
        value = self.value.get(key) if isinstance(self.value, dict) else None
        return Spot(value, f"{self.place}.{key}" if self.place else key, self.problems)

    def has(self, key: str) -> bool:
        """Whether something stands under the key."""
        return isinstance(self.value, dict) and key in self.value

    def mapping(self, known: Sequence[str], *, required: Sequence[str] = ()) -> Spot:
        """This piece, which holds no other keys than these."""
        if not isinstance(self.value, dict):
            self.wrong(f"here stands a mapping with {', '.join(known)}")
            return self
        for key in self.value:
            if key not in known:
                self.at(key).wrong(f"unknown; known here: {', '.join(known)}")
        for key in required:
            if key not in self.value:
                self.at(key).wrong("this is missing")
        return self

    def items(self) -> Iterator[tuple[str, Spot]]:
        """The keys and pieces of a mapping."""
        if isinstance(self.value, dict):
            for key in self.value:
                yield key, self.at(key)

    def each(self, *, most: int) -> list[Spot]:
        """The pieces of a list of one or more."""
        if not isinstance(self.value, list) or not 1 <= len(self.value) <= most:
            self.wrong(f"here stands a list of 1 to {most}")
            return []
        return [Spot(item, f"{self.place}[{n}]", self.problems) for n, item in enumerate(self.value)]

    def one_or_more(self, *, most: int) -> list[Spot]:
        """The pieces of a list, or this piece where it is none."""
        return self.each(most=most) if isinstance(self.value, list) else [self]

    def text(self, *, most: int = 500) -> str:
        if isinstance(self.value, int) and not isinstance(self.value, bool):
            return str(self.value)
        if not isinstance(self.value, str) or not 1 <= len(self.value) <= most:
            self.wrong(f"here stands a text of 1 to {most} characters")
            return "x"
        return self.value

    def word(self) -> str:
        """A name: letters, digits and ._-"""
        if not isinstance(self.value, str) or not _WORD.fullmatch(self.value):
            self.wrong("here stands a name of 1 to 100 letters, digits and ._- that begins with a letter or digit")
            return "x"
        return self.value

    def choice(self, known: Sequence[str]) -> str:
        if not isinstance(self.value, str) or self.value not in known:
            self.wrong(f"one of {', '.join(known)}")
            return known[0]
        return self.value

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            self.wrong("yes or no")
            return False
        return self.value

    def yes(self) -> None:
        """The one thing that may stand here is yes."""
        if self.value is not True:
            self.wrong("here stands yes")

    def integer(self, least: int, most: int) -> int:
        if not isinstance(self.value, int) or isinstance(self.value, bool) or not least <= self.value <= most:
            self.wrong(f"a whole number from {least} to {most}")
            return least
        return self.value

    def decimal(self, *, least: int = 0) -> Decimal:
        """An exact number, such as "12.50"."""
        value = self.value
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(text, str) or not _DECIMAL.fullmatch(text) or Decimal(text) < least:
            self.wrong(f'a number of at least {least}, such as "12.50"')
            return Decimal(1)
        return Decimal(text)

    def money(self) -> dict[str, Decimal]:
        """Amounts by asset."""
        if not isinstance(self.value, dict) or not 1 <= len(self.value) <= 100:
            self.wrong('amounts by asset stand here, such as {CZK: "1000.00"}')
            return {}
        found = {}
        for asset, spot in self.items():
            if not _ASSET.fullmatch(asset):
                spot.wrong("an asset is named in capital letters and digits")
            found[asset] = spot.decimal()
        return found

    def duration(self, least_s: int, most_s: int) -> int:
        """A time span in seconds, written as 30s, 15m, 24h or 30d."""
        match = _DURATION.fullmatch(self.value) if isinstance(self.value, str) else None
        seconds = int(match[1]) * _UNITS[match[2]] if match else 0
        if not least_s <= seconds <= most_s:
            self.wrong(f"a time span from {span(least_s)} to {span(most_s)}, such as 30m, 24h or 30d")
            return least_s
        return seconds

    def moment(self) -> datetime:
        """A time in ISO 8601 with its offset, or a day, which begins in UTC."""
        try:
            found = datetime.fromisoformat(self.value if isinstance(self.value, str) else "")
            if found.tzinfo is None and len(self.value) > len("2026-01-01"):
                raise ValueError
            return (found.replace(tzinfo=UTC) if found.tzinfo is None else found).astimezone(UTC)
        except (ValueError, OverflowError):
            self.wrong("a time such as 2026-01-31T09:00:00Z")
            return datetime.now(UTC)

    def day(self) -> date:
        try:
            return date.fromisoformat(self.value if isinstance(self.value, str) else "")
        except ValueError:
            self.wrong("a day such as 2026-01-31")
            return date.min

    def clock(self) -> time:
        """A time of day; 24:00 is the last moment of it."""
        if self.value == "24:00":
            return time.max
        match = _TIME.fullmatch(self.value) if isinstance(self.value, str) else None
        if not match:
            self.wrong('a time of day such as "08:30"')
            return time.min
        return time(int(match[1]), int(match[2]))

    def zone(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.value if isinstance(self.value, str) else "")
        except (ValueError, KeyError, OSError):
            self.wrong("a time zone such as Europe/Prague")
            return ZoneInfo("UTC")

    def approvers(self) -> tuple[tuple[str, int], ...]:
        """How many people of which role."""
        found: dict[str, int] = {}
        for spot in self.each(most=len(ROLES)):
            spot.mapping(("role", "people"), required=("role", "people"))
            role = spot.at("role").choice(ROLES)
            if role in found:
                spot.wrong(f"{role} stands twice")
            found[role] = spot.at("people").integer(1, 20)
        return tuple(sorted(found.items()))


def span(seconds: int) -> str:
    """A time span as it is written in a policy."""
    for unit, size in (("d", DAY_S), ("h", 3600), ("m", 60)):
        if seconds % size == 0 and seconds >= size and not (unit == "d" and seconds == DAY_S):
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
