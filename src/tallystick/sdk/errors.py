"""What can go wrong with an attempt, and who is told.

`AttemptOver` and what derives from it end an attempt wherever its code is, so they are no `Exception`: a handler that catches
everything it knows of does not catch these by accident. Nothing is written after them, whatever the code does.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf


class AttemptOver(BaseException):
    """The attempt has ended: it took too long, its worker stops, or it has finished. Nothing more is written for it."""


class FenceLost(AttemptOver):
    """Somebody else has the task by now, or it was cancelled. Nothing more is written for this attempt."""


class Parked(AttemptOver):
    """The task waits, and holds no worker while it does. It goes on from its recorded steps when it is woken."""


class Finished(AttemptOver):
    """The attempt has ended with `task.finish()`. Nothing more is written for it."""


class TaskFailed(Exception):
    """Raised by a handler: the task has failed for good and is not tried again. The message reads `code: text`."""


class RetryLater(Exception):
    """Raised by a handler: this attempt came to nothing, and the next one is to begin in `in_s` seconds."""

    def __init__(self, reason: str, *, in_s: float) -> None:
        if not 0 <= in_s < inf:
            raise ValueError("a task is tried again in a number of seconds, 0 or more")
        super().__init__(reason)
        self.in_s = in_s


class NotDone(Exception):
    """Raised by what `task.call` calls: for certain, the call had no effect outside. So it is not in doubt."""


class InDoubt(Exception):
    """A call to the outside may or may not have had its effect, and a person has said that it is not to be sent again."""


class StepChanged(Exception):
    """A recorded step was asked for again with another input, or as another kind of step."""


class StepMisused(Exception):
    """A step that cannot be carried out as it is written, such as one whose name is there twice."""


class FinishMisused(Exception):
    """`task.finish()` was used in a way that has no meaning, such as two results for one task."""


class NotJson(Exception):
    """A value that is to be kept has no exact JSON form, or is too large."""


class EffectRefused(Exception):
    """The effects of `task.finish()` were refused, and none of them was carried out; the attempt goes on.

    `codes` are the stable reasons, one for each effect that was refused, in order.
    """

    def __init__(self, codes: Sequence[str], detail: str = "") -> None:
        super().__init__(": ".join(part for part in (", ".join(codes), detail) if part))
        self.codes = tuple(codes)


class BackendAway(Exception):
    """A backend cannot be asked at this moment, or its answer was lost. Whoever asked asks again; handlers never see this."""
