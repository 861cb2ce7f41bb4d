"""XML of strangers, read one element at a time: no document type, so no entity; bounded in depth; with line numbers.

Every attack by entities (expansion, external files, parameter entities) begins with a document type declaration, which no
message of ISO 20022 has. The parser is expat, fed once; it fetches nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from tallystick.statements.limits import malformed

_MAX_DEPTH = 40
_MAX_NODES = 20_000


@dataclass(slots=True)
class Node:
    """An element with its children; its name has no namespace, so that all versions of a message read alike."""

    name: str
    line: int
    attributes: dict[str, str]
    text: str = ""
    children: list[Node] = field(default_factory=list)

    def find(self, path: str) -> Node | None:
        """The first element at the path, such as `Acct/Id/IBAN`."""
        return next(self.every(path), None)

    def every(self, path: str) -> Iterator[Node]:
        """All elements at the path, in order."""
        name, _, rest = path.partition("/")
        for child in self.children:
            if child.name == name:
                if rest:
                    yield from child.every(rest)
                else:
                    yield child

    def words(self, path: str) -> str | None:
        """The text at the path without space around it; `None` where there is no such element or nothing in it."""
        found = self.find(path)
        return (found.text.strip() or None) if found is not None else None


class _Builder:
    """Hands each element of `cut` to `on_cut` as it ends, and forgets it, so that memory does not grow with the file."""

    def __init__(self, cut: frozenset[str], on_cut: Callable[[Node, Node], None]) -> None:
        self._cut = cut
        self._on_cut = on_cut
        self._open: list[Node] = []
        self._kept = 0
        self._kept_before: list[int] = []
        self._pieces: list[list[str]] = []
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.root: Node | None = None

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        line = self.parser.CurrentLineNumber
        if len(self._open) >= _MAX_DEPTH:
            raise malformed(line, f"elements nest deeper than {_MAX_DEPTH} levels")
        if self._kept >= _MAX_NODES:
            raise malformed(line, f"an entry, with what stands around the entries, has more than {_MAX_NODES} elements")
        self._kept_before.append(self._kept)
        self._kept += 1
        node = Node(name.rpartition(" ")[2], line, attributes)
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        self._open.append(node)
        self._pieces.append([])

    def _end(self, _name: str) -> None:
        node = self._open.pop()
        node.text = "".join(self._pieces.pop())
        kept_before = self._kept_before.pop()
        if node.name in self._cut and self._open:
            parent = self._open[-1]
            parent.children.pop()
            self._kept = kept_before
            self._on_cut(node, parent)

    def _text(self, data: str) -> None:
        if self._pieces:
            self._pieces[-1].append(data)

    def _doctype(self, *_: object) -> None:
        raise malformed(self.parser.CurrentLineNumber, "a document type declaration is not allowed")


def read_tree(data: bytes, *, cut: frozenset[str], on_cut: Callable[[Node, Node], None]) -> Node:
    """Parse `data`; elements named in `cut` go to `on_cut(node, parent)` when they end and are not part of the tree returned.

    Refuses with `Invalid` (`statement_malformed`), with the line, what is no XML, has a document type, or is built to hurt.
    """
    builder = _Builder(cut, on_cut)
    try:
        builder.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise malformed(error.lineno, f"this is no XML: {expat.ErrorString(error.code)}") from None
    except (LookupError, ValueError):
        # Both come from an encoding that is unknown, before any element, or from a fault of ours.
        if builder.root is not None:
            raise
        raise malformed(1, "the encoding of the file is not known") from None
    assert builder.root is not None, "a document that parses has a root"
    return builder.root
