"""From the text of a policy to plain data: YAML or JSON, bounded, with nothing in it that could surprise.

YAML is read as a small part of it: mappings, lists and scalars. Numbers with a fraction stay text, so that amounts are exact;
so do dates and times. Anchors, aliases, tags and keys that stand twice are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import yaml  # type: ignore[import-untyped]

from tallystick.kit import Invalid, loads

MAX_TEXT = 4 * 1024 * 1024
MAX_DEPTH = 12
MAX_NODES = 200_000
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO"), False),
}
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")


def read(source: str | bytes | Mapping[str, Any]) -> Any:
    """The data of a document; refuses with `Invalid` (`policy_malformed`) what is no plain data."""
    if isinstance(source, Mapping):
        return _plain(source, 0)
    if len(source) > MAX_TEXT:
        raise _malformed(f"the document may have {MAX_TEXT // 1024} KiB")
    try:
        text = source.decode() if isinstance(source, bytes) else source
    except UnicodeDecodeError as error:
        raise _malformed(f"the document is not UTF-8 at byte {error.start}") from None
    if text.lstrip().startswith("{"):
        try:
            return _plain(loads(text), 0)
        except Invalid as error:
            raise _malformed(error.detail) from None
    if _NO_TEXT.search(text):
        raise _malformed("the document holds U+0000 or a lone surrogate")
    try:
        return _Builder(text).built()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark is not None else ""
        raise _malformed(f"{place}{getattr(error, 'problem', None) or 'this is not YAML'}") from None


class _Builder:
    """Makes data of the events of a YAML document."""

    def __init__(self, text: str) -> None:
        self._events = yaml.parse(text, Loader=_LOADER)
        self._nodes = 0

    def built(self) -> Any:
        value: Any = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _malformed(f"line {_line(event)}: there is a second document")
                value = self._node(next(self._events), 1)
        return value

    def _node(self, event: Any, depth: int) -> Any:
        self._nodes += 1
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _malformed(f"line {_line(event)}: anchors and aliases are not read")
        if event.tag is not None and event.tag != "!":
            raise _malformed(f"line {_line(event)}: tags are not read")
        if self._nodes > MAX_NODES:
            raise _malformed(f"the document may have {MAX_NODES} values")
        if depth > MAX_DEPTH:
            raise _malformed(f"line {_line(event)}: the document may nest {MAX_DEPTH} levels")
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(depth)
        return self._mapping(depth)

    def _sequence(self, depth: int) -> list[Any]:
        found = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._node(event, depth + 1))
        return found

    def _mapping(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise _malformed(f"line {_line(event)}: a key is a word")
            if event.value in found:
                raise _malformed(f"line {_line(event)}: {event.value} stands twice")
            if event.anchor is not None or event.tag not in (None, "!"):
                raise _malformed(f"line {_line(event)}: anchors, aliases and tags are not read")
            found[event.value] = self._node(next(self._events), depth + 1)
        return found


def _scalar(event: Any) -> Any:
    text: str = event.value
    if not event.implicit[0]:
        return text
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _INTEGER.fullmatch(text) else text


def _plain(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise _malformed(f"the document may nest {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise _malformed("a key is a word")
        return {key: _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float):
        raise _malformed("a number with a fraction is written as text")
    return value


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _malformed(problem: str) -> Invalid:
    return Invalid("policy_malformed", problem)
