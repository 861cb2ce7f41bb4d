"""Refusals that end a call: each kind of error is a class, each reason a stable code.

A refusal that belongs to the business (no funds, a closed account) is no error: verbs return it as a result, so that it is
remembered under its idempotency key. These classes are for calls that cannot be carried out at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class TallystickError(Exception):
    """A call was refused. `code` is stable and for programs, `detail` is for people; `about` is JSON that says more."""

    def __init__(self, code: str, detail: str, about: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.about = about or {}

    def of_number(self, place: int) -> TallystickError:
        """The same refusal, of one of several things: it says which one, from 0."""
        return type(self)(self.code, f"number {place} of the batch: {self.detail}")


class Invalid(TallystickError):
    """The input has no meaning here: a wrong type, a part of a minor unit, a name with forbidden characters."""


class Unauthorized(TallystickError):
    """Nobody is known to be calling: no key, or one that is unknown or revoked."""


class Forbidden(TallystickError):
    """The caller is known, and may not do this."""


class NotFound(TallystickError):
    """The call names a thing that does not exist."""


class Conflict(TallystickError):
    """The call contradicts what is already so: an impossible transition, a key that was used for something else."""


class TooMany(TallystickError):
    """The caller asks too often. It may ask again after `retry_after_s`."""

    def __init__(self, code: str, detail: str, retry_after_s: int) -> None:
        super().__init__(code, detail)
        self.retry_after_s = retry_after_s


class Unavailable(TallystickError):
    """The call may succeed later: the database is away or every connection is in use."""
