"""The policies that come with the program, and putting one in force where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from tallystick.db import Tx
from tallystick.policy import listing, store
from tallystick.policy.counting import current
from tallystick.policy.model import Applied
from tallystick.policy.parsing import parse
from tallystick.policy.rules import EMPTY, Policy
from tallystick.policy.service import apply

PACKAGED = ("default", "demo")
LISTS: Mapping[str, listing.ListKind] = {"restricted": "ids", "sanctions": "names"}
"""The lists that these policies look into."""


def packaged(name: str) -> Policy:
    """The policy `default`, for a small bank to start from, or `demo`."""
    return parse(packaged_text(name), f"{name}.yaml")


def packaged_text(name: str) -> str:
    """The text of such a policy, with what it says of itself."""
    assert name in PACKAGED
    return files(__package__).joinpath(f"{name}.yaml").read_text("utf-8")


async def install(tx: Tx, name: str, *, by: str) -> Applied | None:
    """Put a policy in force where none is, and make the lists that it looks into, empty; `None` where one is."""
    if await current(tx) is not EMPTY or await store.applied(tx, before=2**63 - 1, limit=1):
        return None
    there = {one.name for one in await store.lists(tx)}
    for list_name, kind in LISTS.items():
        if list_name not in there:
            await listing.make_empty(tx, list_name, kind=kind, by=by)
    return await apply(tx, packaged(name), by=by)
