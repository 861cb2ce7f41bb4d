"""Who was let in and who was not, noted beside the requests: when keys were last used, and attempts that were refused.

Attempts that were refused are on the record, in one event a minute at most for a process, whatever anybody sends: it says how
many there were and, beside it, where most of them came from. Of a wrong key only the beginning is told, and only where it has
the form of one of ours.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from contextlib import suppress
from typing import Any

from tallystick import audit, identity
from tallystick.db import Database
from tallystick.kit import TallystickError, TooMany

_EVERY_S = 60.0
_GATHER_S = 1.0
_LAST_S = 2.0
_MAX_KINDS = 1000
_MAX_KEYS = 10_000
_TOLD = 20
_PRINCIPAL = "tallystick"

_log = logging.getLogger(__name__)

Attempt = tuple[str, str | None, str | None]
"""The code of the refusal, the beginning of the key, the address."""


class Presence:
    """What one process has noted and not yet written."""

    def __init__(self, database: Database, *, daily_quota: int = 0) -> None:
        self._database = database
        self._quota = daily_quota
        self._asked: Counter[str] = Counter()
        self._over: dict[str, float] = {}
        self._used: set[int] = set()
        self._failed: Counter[Attempt] = Counter()
        self._others = 0
        self._waking = asyncio.Event()

    def used(self, key_id: int) -> None:
        """A key was looked up and let somebody in."""
        if len(self._used) < _MAX_KEYS:
            self._used.add(key_id)
            self._waking.set()

    def asked(self, name: str) -> None:
        """A principal makes a request. Refuses with `TooMany` (`quota_used`) who has made as many today as there may be.

        Processes tell each other every few seconds, so that somewhat more than the quota may pass.
        """
        if not self._quota:
            return
        until = self._over.get(name)
        if until is not None:
            left_s = until - time.monotonic()
            if left_s > 0:
                raise TooMany("quota_used", "the quota of today is used up", math.ceil(left_s))
            del self._over[name]
        self._asked[name] += 1
        self._waking.set()

    def failed(self, code: str, *, prefix: str | None = None, address: str | None = None) -> None:
        """An attempt to be let in was refused."""
        attempt = (code, prefix, address)
        if attempt in self._failed or len(self._failed) < _MAX_KINDS:
            self._failed[attempt] += 1
        else:
            self._others += 1
        self._waking.set()

    async def run(self) -> None:
        """Write what was noted until it is cancelled, then what is left: refused attempts once a minute."""
        told_at = -_EVERY_S
        try:
            while True:
                await self._waking.wait()
                await asyncio.sleep(_GATHER_S)
                tells = time.monotonic() - told_at >= _EVERY_S
                if tells:
                    told_at = time.monotonic()
                await self._try(tells=tells)
                await asyncio.sleep(_GATHER_S if self._quota else _EVERY_S - _GATHER_S)
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_S):
                    await self._try()

    async def flush(self, *, tells: bool = True) -> None:
        """Write what was noted up to now; with `tells`, refused attempts too."""
        self._waking.clear()
        used, self._used = self._used, set()
        asked, self._asked = self._asked, Counter()
        failed, others = (self._failed, self._others) if tells else (Counter[Attempt](), 0)
        if tells:
            self._failed, self._others = Counter(), 0
        if not used and not failed and not asked:
            return
        try:
            async with self._database.write() as tx:
                await identity.mark_used(tx, sorted(used))
                for usage in await identity.count_requests(tx, asked):
                    if usage.requests >= self._quota:
                        self._over[usage.principal] = time.monotonic() + usage.left_s
                if failed:
                    detail, payload = _summed(failed, others)
                    await audit.append(
                        tx,
                        principal=_PRINCIPAL,
                        verb="sign_in.refuse",
                        subject_kind="sign_in",
                        detail=detail,
                        payload=payload,
                    )
        except BaseException:
            # It is written with what comes next.
            self._used |= used
            self._asked.update(asked)
            self._failed.update(failed)
            self._others += others
            raise

    async def _try(self, *, tells: bool = True) -> None:
        try:
            await self.flush(tells=tells)
        except TallystickError as away:
            self._waking.set()
            _log.warning("who was let in could not be noted: %s", away.code)


def _summed(failed: Counter[Attempt], others: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the event says, and what lies beside it: an address may be a person's."""
    by_code: Counter[str] = Counter()
    for (code, _, _), count in failed.items():
        by_code[code] += count
    most = [
        {"code": code, "prefix": prefix, "address": address, "attempts": count}
        for (code, prefix, address), count in failed.most_common(_TOLD)
    ]
    return {"attempts": failed.total() + others, "by_code": dict(sorted(by_code.items()))}, {"most": most}
