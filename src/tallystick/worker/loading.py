"""Agents by name: `module:attribute`, from the current folder or from what is installed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from tallystick import sdk
from tallystick.kit import Invalid


def load(places: Sequence[str]) -> list[sdk.Agent]:
    """The agents at some places, such as `screening:agent`, or `bank.agents.screening:agent`.

    Refuses with `Invalid` (`agent_not_found`) what is not there or is no agent; what a module raises while it is imported is
    the author's, and comes as it is.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return [_load(place) for place in places]


def _load(place: str) -> sdk.Agent:
    module_name, colon, path = place.partition(":")
    if not (module_name and colon and path):
        raise _not_found(place, "an agent is named as module:attribute")
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module that the author's own module does not find is another matter.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise _not_found(place, f"there is no module {error.name} in the current folder or among what is installed") from None
    for name in path.split("."):
        found = getattr(found, name, None)
    if found is None:
        raise _not_found(place, f"{module_name} has no {path}")
    if not isinstance(found, sdk.Agent):
        raise _not_found(place, f"it is {type(found).__name__}, and not a tallystick.sdk.Agent")
    return found


def _not_found(place: str, why: str) -> Invalid:
    return Invalid("agent_not_found", f"{place} is no agent: {why}")
