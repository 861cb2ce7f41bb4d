"""Types of actions: what each is called, what its payload holds, which facts policy sees of it, and how it is carried out.

A room that can do something registers its types here when it is imported; so does a plug-in, from outside the package.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import entry_points
from typing import Annotated, Any, Generic, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from tallystick.actions.model import Asked
from tallystick.db import Tx
from tallystick.identity import Principal
from tallystick.kit import MAX_INTEGER, Invalid, NotFound, dumps, loads_stored

Payload = TypeVar("Payload")
Whole = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
"""A number of a payload from 1 on, of 63 bits at most."""
Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
"""The same from 0 on."""
Seconds = Annotated[int, Field(ge=1, le=10 * 365 * 86_400)]
"""A time of ten years at most."""

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
PLUG_INS = "tallystick.actions"
"""The entry points group of plug-ins: each is a function that registers types."""


@dataclass(frozen=True)
class ActionType(Generic[Payload]):
    """One type of action. `payload` is a frozen dataclass whose fields are JSON: it is stored, shown and hashed as such.

    `facts` reads what policy is to see (docs/policy.md lists the names), and may lock what must stay so until it is done;
    `account`, `accounts` and `customer` among them are what the proposer has to have in reach. `run` carries it out, in the
    transaction of its decision, and may refuse: what it raises undoes it; of a refusal that it gives back, what it did stays.
    `tell` says in JSON what came of it; where nothing did, as all of it was refused, `refused` has the code, and the action has
    failed. `roles` are those who may propose it. What is `proposable` can be proposed by its name alone; fields that are
    `hidden` are shown to nobody. Of an action that was held, by its id, `resume` carries it out where that differs from `run`,
    and `ended` is told of an end without it. What is made of other actions has `parts`, the actions that policy is asked about
    as well: the strictest word counts for the whole, and what is counted are the parts.

    The accounts that it moves are locked before it is decided: those that its facts name as `account`, `accounts` and, inside
    the bank, `counterparty`, and those whose names `locks` gives, which are all others that `run` or `resume` may post to.

    What people agreed to is carried out only where the facts named in `bound` are still those that they were shown; otherwise
    it fails, with the code that stands there. Facts that are bound are read under a lock that keeps them so.
    """

    name: str
    payload: type[Payload]
    facts: Callable[[Tx, Payload], Awaitable[Mapping[str, Any]]]
    run: Callable[[Tx, Principal, Payload], Awaitable[Any]] | None
    tell: Callable[[Any], Mapping[str, Any]] = lambda _: {}
    roles: frozenset[str] = frozenset({"agent", "operator"})
    proposable: bool = True
    hidden: frozenset[str] = frozenset()
    resume: Callable[[Tx, Principal, Payload, int], Awaitable[Any]] | None = None
    ended: Callable[[Tx, int, str], Awaitable[None]] | None = None
    parts: Callable[[Tx, Payload], Awaitable[Sequence[Asked]]] | None = None
    locks: Callable[[Tx, Payload], Awaitable[Iterable[str]]] | None = None
    refused: Callable[[Any], str | None] = lambda _: None
    bound: Mapping[str, str] = field(default_factory=dict)

    @property
    def can_wait(self) -> bool:
        """Whether it can be carried out later, when people have agreed."""
        return self.run is not None or self.resume is not None

    @cached_property
    def _adapter(self) -> TypeAdapter[Payload]:
        return TypeAdapter(with_config(ConfigDict(extra="forbid"))(self.payload))

    def shown(self, written: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON of a payload as people may see it."""
        return {name: "hidden" if name in self.hidden else value for name, value in written.items()}

    def schema(self) -> dict[str, Any]:
        """The JSON schema of its payload."""
        return self._adapter.json_schema()

    def read(self, stored: Mapping[str, Any]) -> Payload:
        """The payload that JSON stands for. Refuses with `Invalid` (`payload_malformed`)."""
        try:
            return self._adapter.validate_json(dumps(dict(stored)))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(step) for step in first["loc"]) or "the payload"
            raise Invalid("payload_malformed", f"{self.name}: {where}: {first['msg']}") from None

    def write(self, payload: Payload) -> dict[str, Any]:
        """The JSON of a payload, without what is null."""
        return {name: value for name, value in loads_stored(dumps(payload)).items() if value is not None}


_by_name: dict[str, ActionType[Any]] = {}
_by_payload: dict[type, ActionType[Any]] = {}


def register(kind: ActionType[Any]) -> ActionType[Any]:
    """Make a type known. A name and a payload class stand for one type each."""
    if not dataclasses.is_dataclass(kind.payload):
        raise TypeError(f"the payload of {kind.name} is a dataclass")
    if kind.name in _by_name or kind.payload in _by_payload:
        raise ValueError(f"{kind.name} is a type of action already")
    _by_name[kind.name] = _by_payload[kind.payload] = kind
    return kind


def number_of(text: str, kind: str) -> int:
    """The number by which a payload names a thing of a kind, such as `hold`. It is written in one way, so that all who look at
    it see the same thing; refuses with `NotFound` (`unknown_hold`, …) what can be none.
    """
    if not _NUMBER.fullmatch(text):
        raise NotFound(f"unknown_{kind}", f"there is no {kind} {text[:100]}")
    return int(text)


def of(payload: object) -> ActionType[Any]:
    """The type that a payload belongs to."""
    return _by_payload[type(payload)]


def named(name: str) -> ActionType[Any]:
    """The type of that name; refuses with `NotFound` (`unknown_action_type`)."""
    if name not in _by_name:
        raise NotFound("unknown_action_type", f"there is no type of action {name}")
    return _by_name[name]


def proposed(name: str, payload: Mapping[str, Any]) -> Any:
    """The payload of an action that is proposed by the name of its type.

    Refuses with `NotFound` (`unknown_action_type`) and `Invalid` (`payload_malformed`; `type_not_proposable`, where there is
    another way to propose it).
    """
    kind = named(name)
    if not kind.proposable:
        raise Invalid("type_not_proposable", f"an action of type {name} has a route of its own")
    return kind.read(payload)


def names() -> list[str]:
    """The names of all types."""
    return sorted(_by_name)


def load_plug_ins() -> list[str]:
    """Call every installed plug-in (entry points `tallystick.actions`) once; the names of the types that they added."""
    before = set(_by_name)
    for plug_in in entry_points(group=PLUG_INS):
        if plug_in.value not in _loaded:
            _loaded.add(plug_in.value)
            plug_in.load()()
    return sorted(set(_by_name) - before)


_loaded: set[str] = set()
