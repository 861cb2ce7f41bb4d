"""What the documents name exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tallystick import actions
from tallystick.cli.main import SUBCOMMANDS

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def _names() -> list[tuple[str, str]]:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    return re.findall(r"`(src/[^`]+)`(?:\s·\s|\s+)`([^`]+)`", re.sub(r"·\s+", "· ", text).replace("\n", " "))


def test_the_life_of_a_transfer_names_many_stops() -> None:
    assert len(_names()) >= 15


@pytest.mark.parametrize(("file", "name"), _names())
def test_each_stop_of_the_life_of_a_transfer_exists(file: str, name: str) -> None:
    text = (ROOT / file).read_text()
    pattern = (
        rf"(def|class) {re.escape(name)}\b" if file.endswith(".py") else rf"create or replace function {re.escape(name)}\("
    )
    assert re.search(pattern, text), f"{file} does not define {name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text()
    links = [link for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text) if not link.startswith("http")]
    missing = [link for link in links if not (document.parent / link).exists()]
    named = re.findall(r"`((?:src|tests|bench|docs|examples)/[A-Za-z0-9_./-]+\.(?:py|sql|md|toml))`", text)
    missing += [name for name in named if not (ROOT / name).exists()]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_that_a_document_names_exists(document: Path) -> None:
    named = re.findall(r"`(tests/[a-z0-9_/]+\.py)::([a-z0-9_]+)`", document.read_text())
    missing = [f"{file}::{name}" for file, name in named if not re.search(rf"def {name}\(", (ROOT / file).read_text())]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_a_document_shows_exists_with_its_options(document: Path) -> None:
    text = document.read_text()
    shown = re.findall(r"`tallystick ([^`]+)`", text) + re.findall(r"^    (?:\$ )?tallystick (.+)$", text, re.MULTILINE)
    assert [line for line in shown if not _is_command(re.split(r"\s{3,}|\s#\s| \| ", line)[0].split())] == []


def _is_command(words: list[str]) -> bool:
    known: Any = {one.name: one for one in SUBCOMMANDS}
    if words[0] in ("--help", "--version"):
        return True
    if not re.fullmatch("[a-z-]+", words[0]):
        return True
    command = known[words[0]].load() if words[0] in known else None
    rest = words[1:]
    while command is not None and getattr(command, "commands", None):
        if not rest or not re.fullmatch("[a-z-]+", rest[0]):
            return True
        command, rest = command.commands.get(rest[0]), rest[1:]
    if command is None:
        return False
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    return set(re.findall(r"--[a-z][a-z-]*", " ".join(rest))) <= options


def test_the_gate_page_names_the_types_whose_held_actions_are_not_amended() -> None:
    text = (ROOT / "docs/gate.md").read_text()
    (said,) = re.findall(r"A held (.*) is not amended \(409 `not_amendable`\)", text)
    assert set(re.findall("`([^`]+)`", said)) == {name for name in actions.names() if actions.named(name).resume is not None}


def test_each_item_of_the_security_lists_is_kept_and_has_its_own_test() -> None:
    text = (ROOT / "docs/security.md").read_text()
    rows = dict(re.findall(r"^\| (A(?:PI|SI)\d+) (.*)$", text, re.MULTILINE))
    assert list(rows) == [f"API{number}" for number in range(1, 11)] + [f"ASI{number:02}" for number in range(1, 11)]
    assert [item for item, row in rows.items() if f"::test_{item.lower()}_" not in row or "Missing" in row] == []
    named = set(re.findall(r"`(tests/security/[a-z_]+\.py)::([a-z0-9_]+)`", text))
    written = {
        (str(path.relative_to(ROOT)), name)
        for path in (ROOT / "tests/security").glob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert named == written


def test_every_room_is_in_the_architecture() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = {path.parent.name for path in (ROOT / "src/tallystick").glob("*/__init__.py")}
    assert {room for room in rooms if f"| `{room}` |" not in text} == set()


def test_every_dependency_has_its_reason() -> None:
    wanted = re.findall(r'^    "([a-z-]+)[\[>=;]', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    text = (ROOT / "docs/dependencies.md").read_text()
    assert wanted
    assert [name for name in wanted if not re.search(rf"^\|[^|]*\b{name}\b[^|]*\|", text, re.MULTILINE)] == []


def test_the_readme_fits_on_a_screen() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 50


def test_every_setting_is_documented() -> None:
    operations = (ROOT / "docs/operations.md").read_text()
    settings = {
        "TALLYSTICK_": ROOT / "src/tallystick/db/settings.py",
        "TALLYSTICK_HTTP_": ROOT / "src/tallystick/http/settings.py",
        "TALLYSTICK_WEBHOOKS_": ROOT / "src/tallystick/approvals/settings.py",
    }
    special = {"database_url": "DATABASE_URL", "api_key": "API_KEY", "open": "--open"}
    missing = []
    for prefix, path in settings.items():
        for name in re.findall(r"^    ([a-z_]+): [^=\n]+ = ", path.read_text(), re.MULTILINE):
            wanted = special.get(name, prefix + name.upper())
            if wanted not in operations:
                missing.append(wanted)
    assert missing == []
