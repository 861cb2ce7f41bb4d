"""What events say of questions that were put to people: who asked, who may not vote, who voted, and whether that was enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from tallystick.tlog.decisions import loads, roles_of
from tallystick.tlog.found import Finding, Sealed

_STATUS = {"approvals.withdraw": "withdrawn", "approvals.expire": "expired"}
_GLASS_BREAKERS = 2


@dataclass(slots=True)
class _Question:
    """A question as its events tell of it. Of each version its digest, `None` where that was erased, and the votes on it."""

    maker: str
    excluded: set[str]
    approve: list[tuple[str, int]]
    version: int = 1
    status: str = "open"
    digests: dict[int, str | None] = field(default_factory=dict)
    votes: list[tuple[int, str, str, tuple[str, ...]]] = field(default_factory=list)
    used_in: str | None = None


class Agreements:
    """Remembers, in memory that grows with the number of questions, what became of each."""

    def __init__(self) -> None:
        self._questions: dict[str, _Question] = {}
        self.unknown: list[Finding] = []
        """Of questions that nobody told of; in a range of the record they may have been asked before it."""

    def heard(self, sealed: Sealed) -> Iterator[Finding]:
        """Take in an event of a question; what is wrong with it."""
        event, verb = sealed.event, str(sealed.event["verb"])
        id = event["approval"]
        detail = event.get("detail") or {}
        if verb == "approvals.ask":
            self._questions[id] = _Question(detail["maker"], {*detail["excluded"]}, roles_of(detail["approve"]))
        question = self._questions.get(id)
        if question is None:
            # It was asked before the range.
            return
        if verb in ("approvals.ask", "approvals.amend"):
            question.version = detail["version"]
            question.excluded.update(detail.get("editors", ()))
            question.digests[question.version] = _digest(sealed)
        elif verb in ("approvals.vote", "approvals.break_glass"):
            yield from self._vote(id, question, str(event["principal"]), detail)
        elif verb == "approvals.consume":
            if question.used_in is not None:
                yield Finding("approval_used_twice", f"approval {id}", f"was used before event at index {sealed.index}")
            question.used_in, question.status = event["tx"], "consumed"
        question.status = _STATUS.get(verb, question.status)

    def _vote(self, id: str, question: _Question, person: str, detail: Mapping[str, Any]) -> Iterator[Finding]:
        vote, version = str(detail["vote"]), int(detail["version"])
        if detail["kind"] != "person":
            yield Finding(
                "vote_by_no_person", f"approval {id}", f"{person}, who is no person but {detail['kind']}, voted on it"
            )
        if person == question.maker or person in question.excluded:
            yield Finding("vote_by_the_maker", f"approval {id}", f"{person} asked for it, stands behind who did, or edited it")
        glass = vote == "break_glass"
        if any(had[:2] == (version, person) and (had[2] == "break_glass") == glass for had in question.votes):
            yield Finding("voted_twice", f"approval {id}", f"{person} voted twice on version {version}")
        question.votes.append((version, person, vote, tuple(detail["places"])))
        question.status = detail["status"]

    def cover(self, decision: str, head: Mapping[str, Any], asked: Sequence[Mapping[str, Any]], tx: str) -> Iterator[Finding]:
        """Whether people have agreed to what a decision allows: its payload, in its transaction, as many as are `asked`."""
        id = head["approval"]
        question = self._questions.get(id)
        place = f"decision {decision}"
        if question is None:
            self.unknown.append(Finding("approval_unknown", place, f"allows by approval {id}, of which no event before tells"))
            return
        if question.used_in != tx:
            yield Finding("approval_unused", place, f"allows by approval {id}, which was not used with it")
        if (digest := question.digests.get(question.version)) is not None and digest != head["digest"]:
            yield Finding("approval_differs", place, f"allows something else than what people agreed to by approval {id}")
        people = [(person, vote, places) for version, person, vote, places in question.votes if version == question.version]
        broken = {person for person, vote, _ in people if vote == "break_glass"}
        if len(broken) >= _GLASS_BREAKERS:
            return
        agreed = {person: places for person, vote, places in people if vote == "approve"}
        if any(vote == "reject" for _, vote, _ in people) or not _is_reached(question.approve, [*agreed.values()]):
            yield Finding("quorum_missing", place, f"allows by approval {id}, which people enough did not agree to")
        had = dict(question.approve)
        if any(had.get(each["role"], 0) < each["people"] for each in asked):
            yield Finding("quorum_missing", place, f"asks for more people than approval {id} did")

    def digest_of(self, id: str | None) -> str | None:
        """The digest of what a question is about as it stands; `None` where that is not known, or was erased."""
        question = None if id is None else self._questions.get(id)
        return None if question is None else question.digests.get(question.version)

    def compare(self, states: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
        """Whether questions stand as their events say. Of one of which later events tell, only that it is there."""
        for id, question in self._questions.items():
            state = states.get(id)
            if state is None:
                yield Finding("approval_missing", f"approval {id}", "is not there")
                continue
            said: dict[str, Any] = {
                "maker": question.maker,
                "excluded": sorted(question.excluded),
                "approve": [[role, count] for role, count in question.approve],
                "version": question.version,
                "status": question.status,
                "digest": question.digests.get(question.version),
            }
            for name, value in () if state["later"] else said.items():
                is_erased = name == "digest" and (value is None or state[name] is None)
                if state[name] != value and not is_erased:
                    yield Finding("approval_altered", f"approval {id}", f"{name} is {state[name]!r}, its events say {value!r}")
        for id in states.keys() - self._questions.keys():
            if not states[id]["later"]:
                yield Finding("approval_unknown", f"approval {id}", "is there, and no event tells of it")


def _digest(sealed: Sealed) -> str | None:
    (row,) = sealed.rows
    return None if row.text is None else str(loads(row.text)["digest"])


def _is_reached(approve: Sequence[tuple[str, int]], voters: Sequence[tuple[str, ...]]) -> bool:
    """Whether people enough agreed, each in one place only: by Hall's theorem, for every set of roles as many people could
    fill a place of one of them as there are such places."""
    for size in range(1, len(approve) + 1):
        for some in combinations(approve, size):
            roles = {role for role, _ in some}
            if sum(1 for places in voters if roles.intersection(places)) < sum(count for _, count in some):
                return False
    return True
