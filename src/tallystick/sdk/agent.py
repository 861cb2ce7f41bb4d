"""An agent: a name, a version, and a handler for each type of task that it knows."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic.errors import PydanticUserError

from tallystick.sdk.backend import Queue
from tallystick.sdk.codec import Shape, shape_of
from tallystick.sdk.sync_task import SyncTask
from tallystick.sdk.task import Task

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,99}")
_DAY_S = 86400

Handler = TypeVar("Handler", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class TaskType:
    """A type of task: its handler, what it reads and gives, and how it is tried.

    Without a `payload` shape the handler is given the JSON object as it is, or nothing where it `wants_payload` not.
    """

    queue: Queue
    handler: Callable[[Any], Any]
    is_async: bool
    payload: Shape | None
    wants_payload: bool
    result: Shape | None


class Agent:
    """What an agent does. `version` pins the model, the prompts and the tools that it works with; it is on the record."""

    def __init__(self, name: str, *, version: str) -> None:
        self.name = _named(name, "an agent's name")
        self.version = _named(version, "an agent's version")
        self._types: dict[str, TaskType] = {}

    @property
    def task_types(self) -> Mapping[str, TaskType]:
        """The types of task it knows, by name."""
        return self._types

    def task(
        self,
        type: str,
        *,
        max_attempts: int | None = None,
        max_crashes: int | None = None,
        timeout_s: int | None = None,
        backoff_s: float | None = None,
        max_backoff_s: float | None = None,
    ) -> Callable[[Handler], Handler]:
        """Have a function handle a type of task; the function stays as it is.

        It takes a `Task[T]`; one that is no coroutine function takes a `SyncTask[T]`, and runs in a thread. T is what the
        payload is read as: a pydantic model, a dataclass, a TypedDict, `dict`, or None; the annotation of what it returns is
        what the result has to be. An attempt may take `timeout_s`. After one that failed there is another, `backoff_s` later,
        doubled each time up to `max_backoff_s`, until there were `max_attempts`; crashes of workers are counted apart. What is
        not given is as the bank has set it. Refuses with `ValueError` and `TypeError` what has no meaning.
        """
        queue = Queue(
            self.name,
            self.version,
            _named(type, "a task's type"),
            max_attempts,
            max_crashes,
            timeout_s,
            backoff_s,
            max_backoff_s,
        )
        _check_bounds(queue)

        def register(handler: Handler) -> Handler:
            if type in self._types:
                raise ValueError(f"{self.name} has two handlers of {type!r}")
            self._types[type] = _task_type(queue, handler)
            return handler

        return register


def _task_type(queue: Queue, handler: Callable[..., Any]) -> TaskType:
    where = f"the handler of {queue.type!r}"
    is_async = inspect.iscoroutinefunction(handler)
    taken = [each for each in inspect.signature(handler).parameters.values() if each.default is each.empty]
    if len(taken) != 1 or taken[0].kind is taken[0].KEYWORD_ONLY:
        raise TypeError(f"{where} takes one argument, the task")
    try:
        annotations = typing.get_type_hints(handler)
    except NameError as error:
        raise TypeError(f"{where} has an annotation that is not known where it is defined: {error}") from None
    task = annotations.get(taken[0].name, Any)
    facade = typing.get_origin(task) or task
    wanted = Task if is_async else SyncTask
    if facade not in (wanted, Any):
        raise TypeError(f"{where} is {'a' if is_async else 'no'} coroutine function, so it takes a {wanted.__name__}")
    payload = typing.get_args(task)[0] if typing.get_args(task) else Any
    try:
        return TaskType(
            queue,
            handler,
            is_async,
            payload=shape_of(payload),
            wants_payload=payload is not type(None),
            result=shape_of(annotations.get("return", Any)),
        )
    except PydanticUserError as error:
        raise TypeError(f"{where} has an annotation that cannot be read from JSON: {error.message}") from None


def _named(value: str, what: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"{what} has 1 to 100 letters, digits or ._:@- and begins with a letter or digit: {value[:100]!r}")
    return value


def _check_bounds(queue: Queue) -> None:
    """The bounds of a queue, which its table has too."""
    bounds: tuple[tuple[str, float | None, float, float], ...] = (
        ("max_attempts", queue.max_attempts, 1, 1000),
        ("max_crashes", queue.max_crashes, 1, 1000),
        ("timeout_s", queue.timeout_s, 1, _DAY_S),
        ("backoff_s", queue.backoff_s, 0, _DAY_S),
        ("max_backoff_s", queue.max_backoff_s, queue.backoff_s or 0, _DAY_S),
    )
    for name, value, least, most in bounds:
        if value is not None and not least <= value <= most:
            raise ValueError(f"{name} of {queue.type!r} is {value}; it may be {least} to {most}")
