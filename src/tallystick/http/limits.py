"""How often a caller may ask: a bucket of tokens for each principal, in each process."""

from __future__ import annotations

import math
import time

from tallystick.http.settings import HttpSettings
from tallystick.kit import TooMany

_MAX_BUCKETS = 10_000


class Limits:
    """Requests per second that a principal may make for long, and how many at once. `refused` counts what was too much."""

    def __init__(self, settings: HttpSettings) -> None:
        self._rate = settings.rate_per_s
        self._burst = float(settings.rate_burst or max(1, math.ceil(2 * settings.rate_per_s)))
        self._buckets: dict[str, tuple[float, float]] = {}
        self.refused = 0

    def take(self, name: str) -> None:
        """Let one request of a principal pass; refuses with `TooMany` (`rate_limited`)."""
        if not self._rate:
            return
        now = time.monotonic()
        tokens, at = self._buckets.get(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._rate)
        if tokens < 1:
            self.refused += 1
            raise TooMany("rate_limited", "you ask too often", math.ceil((1 - tokens) / self._rate))
        if name not in self._buckets and len(self._buckets) >= _MAX_BUCKETS:
            # A bucket that is forgotten is full again: better than to refuse whoever comes next.
            self._buckets.clear()
        self._buckets[name] = (tokens - 1, now)
