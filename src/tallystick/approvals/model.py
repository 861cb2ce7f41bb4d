"""A question to people, what they said of it, and the rules of who may say what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from tallystick.kit import Invalid, check_name, dumps

Said = Literal["approve", "reject", "break_glass"]
Verdict = Literal["justified", "not_justified"]

STATUSES = frozenset({"open", "approved", "rejected", "expired", "withdrawn", "consumed"})
VERDICTS = frozenset({"justified", "not_justified"})
GLASS_BREAKERS = 2
MAX_SHOWN = 1024 * 1024
MAX_REASON = 2000
MAX_COMMENT = 4000
_MAX_ROLES = 8
_MAX_PLACES = 20
_MAX_EXCLUDED = 100
_MAX_EXPIRES_S = 366 * 86_400


@dataclass(frozen=True, slots=True)
class Escalation:
    """After `after_s` seconds, who has one of `roles` may take any place of the quorum, too. The quorum stays as it is."""

    after_s: int
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Touched:
    """What a question touches, by number; 0 is a customer who has none. Where that is nothing, it is about all business."""

    accounts: tuple[int, ...] = ()
    customers: tuple[int, ...] = ()


NOTHING = Touched()


@dataclass(frozen=True, slots=True)
class Reach:
    """The accounts and customers, by number, of whose questions somebody may know; `None` is all of them."""

    accounts: frozenset[int] | None = None
    customers: frozenset[int] | None = None

    def holds(self, approval: Approval) -> bool:
        """Whether a question is within it: what it touches is, or nothing is kept from it."""
        if self.accounts is None and self.customers is None:
            return True
        return (
            bool(approval.accounts or approval.customers)
            and (self.accounts is None or self.accounts.issuperset(approval.accounts))
            and (self.customers is None or self.customers.issuperset(approval.customers))
        )


EVERYTHING = Reach()


@dataclass(frozen=True, slots=True)
class Question:
    """May `maker` carry out this `action`? `digest` is the SHA-256 of what is to be carried out, `shown` what people see of it.

    `approve` says how many people of which role have to agree, each in one place only. The maker does not vote, nor do those in
    `excluded`: an agent's owner, the person it acts for, the last editor. What it `touches` says in whose reach it is. It is
    open for `expires_s` seconds, and what was approved is carried out within them, too.
    """

    action: str
    action_id: int | None
    digest: bytes
    shown: Mapping[str, Any]
    maker: str
    approve: tuple[tuple[str, int], ...]
    expires_s: int
    excluded: frozenset[str] = frozenset()
    escalate: Escalation | None = None
    touches: Touched = NOTHING


@dataclass(frozen=True, slots=True)
class Approval:
    """A question as it stands. Of each of `roles` as many people are asked as `counts` says.

    It is `open`; then `approved`, `rejected`, `expired` or `withdrawn`; what is `approved` becomes `consumed`, once, or else
    `expired` or `withdrawn`. `version` counts its amendments. `broken_at` is when two people broke the glass.
    """

    id: int
    action: str
    action_id: int | None
    version: int
    digest: bytes
    maker: str
    excluded: list[str]
    roles: list[str]
    counts: list[int]
    wider: list[str]
    status: str
    asked_at: datetime
    expires_at: datetime
    escalate_at: datetime | None
    escalated_at: datetime | None
    broken_at: datetime | None
    changed_at: datetime
    accounts: list[int]
    customers: list[int]

    @property
    def approve(self) -> tuple[tuple[str, int], ...]:
        """How many people of which role have to agree."""
        return tuple(zip(self.roles, self.counts, strict=True))


@dataclass(frozen=True, slots=True)
class Shown:
    """What people were shown of a version, as `said_by` put it; empty where it was erased."""

    version: int
    digest: bytes
    shown: Mapping[str, Any]
    said_by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Vote:
    """What a person said of a version. `places` are the roles of the quorum of which they could fill a place; what one who is
    `gone`, as they were disabled, has said does not count any more.
    """

    id: int
    version: int
    person: str
    vote: str
    places: list[str]
    reason: str | None
    at: datetime
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Comment:
    """What somebody remarked on a question."""

    id: int
    said_by: str
    text: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Review:
    """What is owed after the glass was broken; open until a third person gives a verdict."""

    approval_id: int
    action: str
    maker: str
    broken_by: list[str]
    opened_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    verdict: str | None


@dataclass(frozen=True, slots=True)
class MovedOn:
    """What the clock did to a question: `expired` or `escalated`."""

    approval_id: int
    clock: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a verb: a refusal's code, or none; what the clock did before it; the row that was written."""

    code: str | None
    clock: str | None
    row_id: int | None


@dataclass(frozen=True, slots=True)
class Asked:
    """The ids of a new question and of what is shown."""

    approval_id: int
    row_id: int


@dataclass(frozen=True, slots=True)
class Quorum:
    """How far a question is: who fills which place, and how many of which role are missing."""

    filled: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing: tuple[tuple[str, int], ...] = ()

    @property
    def reached(self) -> bool:
        """Whether nobody is missing."""
        return not self.missing


def quorum(approve: Sequence[tuple[str, int]], votes: Sequence[tuple[str, Sequence[str]]]) -> Quorum:
    """Give as many places as can be to those who approve, each in one; a vote is a person and the roles they could stand for.

    Earlier people move to another place they could fill where that lets a later one in (augmenting paths).
    """
    places = [role for role, count in approve for _ in range(count)]
    holder: list[int | None] = [None] * len(places)

    def seat(vote: int, tried: set[int]) -> bool:
        for place, role in enumerate(places):
            if role not in votes[vote][1] or place in tried:
                continue
            tried.add(place)
            sitting = holder[place]
            if sitting is None or seat(sitting, tried):
                holder[place] = vote
                return True
        return False

    for vote in range(len(votes)):
        seat(vote, set())
    seated = list(zip(places, holder, strict=True))
    filled = {role: tuple(votes[who][0] for place, who in seated if place == role and who is not None) for role, _ in approve}
    missing = tuple((role, count - len(filled[role])) for role, count in approve if count > len(filled[role]))
    return Quorum(filled, missing)


def quorum_of(approval: Approval, votes: Sequence[Vote]) -> Quorum:
    """The same, of a question and all that was said of it, of which only what was said of its last version counts."""
    return quorum(
        approval.approve,
        [
            (vote.person, vote.places)
            for vote in votes
            if vote.version == approval.version and vote.vote == "approve" and not vote.gone
        ],
    )


def check_question(question: Question) -> Question:
    """The question if it makes sense, else refuse.

    With `Invalid`: `name_malformed`, `digest_malformed`, `quorum_malformed`, `expiry_out_of_range`, `shown_too_large`.
    """
    check_name(question.action, "a type of action")
    check_shown(question.digest, question.shown)
    roles = [role for role, _ in question.approve]
    counts = [count for _, count in question.approve]
    escalation = question.escalate
    for role in (*roles, *(escalation.roles if escalation else ())):
        check_name(role, "a role")
    if not 1 <= len(roles) <= _MAX_ROLES or len(set(roles)) < len(roles) or min(counts) < 1 or sum(counts) > _MAX_PLACES:
        raise Invalid("quorum_malformed", f"1 to {_MAX_ROLES} roles are asked, each once, and {_MAX_PLACES} people at most")
    if escalation is not None and not 1 <= len(set(escalation.roles)) <= _MAX_ROLES:
        raise Invalid("quorum_malformed", f"it escalates to 1 to {_MAX_ROLES} roles")
    if len(question.excluded) > _MAX_EXCLUDED:
        raise Invalid("quorum_malformed", f"{_MAX_EXCLUDED} people may be excluded")
    if not 1 <= question.expires_s <= _MAX_EXPIRES_S or (escalation and not 0 <= escalation.after_s <= _MAX_EXPIRES_S):
        raise Invalid("expiry_out_of_range", "a question is open for 1 second to a year, and escalates within that")
    return question


def check_shown(digest: bytes, shown: Mapping[str, Any]) -> None:
    """Refuse with `Invalid` a digest that is none (`digest_malformed`), and more than people are shown (`shown_too_large`)."""
    if len(digest) != 32:
        raise Invalid("digest_malformed", "a digest has 32 bytes")
    if len(dumps(dict(shown))) > MAX_SHOWN:
        raise Invalid("shown_too_large", f"what is shown may have {MAX_SHOWN} bytes")
