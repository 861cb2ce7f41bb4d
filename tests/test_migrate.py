"""Migrations: step by step or all at once, alone or two at a time, the schema that comes out is the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from tallystick.db import check_revision, head_revision, migrate
from tallystick.db.revisions import revisions
from tallystick.db.upgrading import in_order
from tallystick.kit import Unavailable
from tests.catalog import describe
from tests.conftest import TestDatabase

MIGRATIONS = Path(__file__).parent.parent / "src/tallystick/db/migrations"


def test_a_database_migrated_step_by_step_equals_a_fresh_one(empty_database: TestDatabase, database: TestDatabase) -> None:
    for revision in revisions():
        assert migrate(empty_database.owner_url, to=revision).after == revision
    assert migrate(empty_database.owner_url).after == head_revision()
    stepwise, fresh = describe(empty_database.owner_url), describe(database.owner_url)
    assert stepwise.replace(empty_database.name, "") == fresh.replace(database.name, "")
    assert len(fresh.splitlines()) > 300


def test_a_function_that_differs_from_its_file_is_put_back(database: TestDatabase) -> None:
    before = describe(database.owner_url)
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("revoke execute on all functions in schema ledger from tallystick_app")
        connection.execute("update db.repeatable set checksum = '' where name = 'ledger/20_post.sql'")
    assert describe(database.owner_url) != before
    assert migrate(database.owner_url).applied == ("ledger/20_post.sql",)
    assert describe(database.owner_url) == before


def test_migrating_again_does_nothing(database: TestDatabase) -> None:
    done = migrate(database.owner_url)
    assert (done.before, done.after, done.applied) == (head_revision(), head_revision(), ())


def test_two_migrations_at_once_wait_for_each_other(empty_database: TestDatabase) -> None:
    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(migrate, [empty_database.owner_url] * 2))
    assert sorted(done.before or "" for done in both) == ["", head_revision()]


def test_a_database_that_is_not_migrated_is_refused(empty_database: TestDatabase) -> None:
    with pytest.raises(Unavailable, match="not_migrated"):
        check_revision(empty_database.owner_url)


def test_each_revision_has_its_file_and_follows_the_one_before() -> None:
    numbers = revisions()
    assert in_order() == numbers
    assert [int(number) for number in numbers] == list(range(1, len(numbers) + 1))
    assert sorted(path.name[:4] for path in MIGRATIONS.glob("*.sql")) == numbers
    assert all(int(later) == int(earlier) + 1 for earlier, later in pairwise(numbers))
