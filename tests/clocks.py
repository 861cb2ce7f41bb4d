"""A clock for tests: `db.clock()` shows what the test sets, as the owner of the database may say."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg

_MADE = b"""
    create table public.test_clock (at timestamptz not null);
    insert into public.test_clock values (clock_timestamp());
    grant select on public.test_clock to public;
    create or replace function db.clock() returns timestamptz
    language sql volatile
    begin atomic
        select at from public.test_clock;
    end;
"""


class SetClock:
    """Time in the database at `owner_url` stands still from now on, except where it is set."""

    def __init__(self, owner_url: str, at: str) -> None:
        self._connection = psycopg.connect(owner_url, autocommit=True)
        self._connection.execute(_MADE)
        self.set(at)

    def set(self, at: str | datetime) -> datetime:
        """Let it be `at`; what has no offset is UTC."""
        moment = datetime.fromisoformat(at) if isinstance(at, str) else at
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        self._connection.execute("update public.test_clock set at = %s", (moment,))
        return moment

    def close(self) -> None:
        """Time stands still for good."""
        self._connection.close()
