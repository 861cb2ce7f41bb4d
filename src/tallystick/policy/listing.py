"""Lists of names and ids: taken in as a whole, looked into by their normalized forms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Literal

from tallystick import audit
from tallystick.db import ReadTx, Tx
from tallystick.kit import Invalid, NotFound, check_name, check_text
from tallystick.policy import store
from tallystick.policy.model import ListEntry, ListInfo
from tallystick.policy.normal import MAX_NAME, id_form, name_form

ListKind = Literal["names", "ids"]
Entry = tuple[str, str]
"""The id of an entry and one of its names; of a list of ids, both are the id."""

MAX_ENTRIES = 20_000_000
_CHUNK = 20_000
_MAX_ID = 100


async def import_list(
    tx: Tx,
    name: str,
    entries: Iterable[Entry],
    *,
    kind: ListKind = "names",
    source: str,
    by: str,
    allow_empty: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> ListInfo:
    """Have a list be just these entries from the end of this transaction on; what it was before goes.

    Rows are read and copied in parts, so that memory does not grow with the list. Refuses with `Invalid`: `name_malformed`,
    `text_too_long` (ids of 100 characters, names of 500), `text_malformed`, `too_many_entries`,
    `list_would_be_empty`. A name without a letter or a digit is left out; `progress` is told of all that were read.
    """
    check_name(name, "a list's name")
    check_text(source, "the source", 200)
    normalize = name_form if kind == "names" else id_form
    version = await store.next_version(tx)
    rows = iter(entries)
    count = 0
    while chunk := list(islice(rows, _CHUNK)):
        count += len(chunk)
        if count > MAX_ENTRIES:
            raise Invalid("too_many_entries", f"a list may have {MAX_ENTRIES} names")
        await store.copy_entries(tx, _rows(version, chunk, normalize))
        progress(count)
    info = await store.publish(tx, name=name, kind=kind, version=version, source=source, by=by)
    if info.entries == 0 and not allow_empty:
        raise Invalid("list_would_be_empty", f"nobody would be on the list {name} any more")
    await audit.append(
        tx,
        principal=by,
        verb="lists.import",
        subject_kind="list",
        subject_id=version,
        detail={"name": name, "kind": kind, "entries": info.entries},
    )
    return info


async def make_empty(tx: Tx, name: str, *, kind: ListKind, by: str) -> ListInfo:
    """A list with nobody on it."""
    return await import_list(tx, name, (), kind=kind, source="nothing yet", by=by, allow_empty=True)


async def lists(tx: ReadTx) -> list[ListInfo]:
    """Every list, by name."""
    return await store.lists(tx)


async def get_list(tx: ReadTx, name: str) -> ListInfo:
    """A list; refuses with `NotFound` (`unknown_list`)."""
    for one in await store.lists(tx):
        if one.name == name:
            return one
    raise NotFound("unknown_list", f"there is no list {name[:100]}")


async def find(tx: ReadTx, value: str, *, list_name: str | None = None, limit: int = 50) -> list[ListEntry]:
    """Entries that a name or an id is found by, on one list or on all."""
    check_text(value, "a name", MAX_NAME)
    return await store.find_entries(tx, value, list_name=list_name, limit=limit)


async def entries_of(tx: ReadTx, name: str, *, after: str = "", limit: int = 50) -> list[ListEntry]:
    """A page of a list's entries, by their ids."""
    await get_list(tx, name)
    return await store.some_entries(tx, name, after=after, limit=limit)


def _rows(version: int, chunk: list[Entry], normalize: Callable[[str], str]) -> Iterator[tuple[int, str, str, str]]:
    for entry_id, name in chunk:
        if not name:
            continue
        if len(entry_id) > _MAX_ID or not entry_id:
            raise Invalid("text_too_long", f"the id of an entry may have {_MAX_ID} characters")
        check_text(name, "a name", MAX_NAME)
        normalized = normalize(name)
        if normalized:
            yield version, check_text(entry_id, "an entry's id", _MAX_ID), name, normalized
