"""What docs/record.md says is so: an event is verified by hand as it is printed, and every finding is explained."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from tests.conftest import ROOT
from tests.tlog_exports import KEY, Bank, dumps, packed

PAGE = (ROOT / "docs/record.md").read_text("utf-8")
_NEXT = "@@@ next @@@"


def a_small_bank() -> Bank:
    """The record of the page."""
    bank = Bank()
    bank.post(1, 2)
    bank.step(1)
    bank.do("cases.open", "case", payload=dumps({"name": 'Ada "Countess" Lovelace', "note": "tea\nat five"}))
    for _ in range(3):
        bank.do("work.finish", "task")
    bank.post(3)
    return bank


def _shown() -> list[tuple[str, str]]:
    section = PAGE.split("\n## One event by hand\n", 1)[1].split("\n## ", 1)[0]
    found: list[tuple[str, str]] = []
    for line in (line[4:] for line in section.splitlines() if line.startswith("    ")):
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found


def _done(folder: Path, export: bytes) -> list[tuple[str, str]]:
    """The commands of the page, each with what it prints."""
    (folder / "export.zip").write_bytes(export)
    (folder / "keys").write_text(f"{KEY.verifier}\n")
    commands = [command for command, _ in _shown()]
    script = "exec 2>&1\n" + "".join(f"{command}\necho '{_NEXT}'\n" for command in commands)
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    return list(zip(commands, done.stdout.split(f"{_NEXT}\n"), strict=False))


def test_one_event_is_verified_by_hand_as_the_page_shows(tmp_path: Path) -> None:
    assert len(_shown()) > 15
    assert _done(tmp_path, packed(a_small_bank().files())) == _shown()


def test_by_hand_one_finds_what_was_altered(tmp_path: Path) -> None:
    files = a_small_bank().files()
    changed = files["events.jsonl"].replace(b"Countess", b"Duchess!")
    told = dict(_done(tmp_path, packed({**files, "events.jsonl": changed})))
    (command,) = [command for command, _ in _shown() if command.startswith("(printf $salt")]
    assert told[command] != dict(_shown())[command]


def test_by_hand_one_finds_a_checkpoint_that_was_not_signed(tmp_path: Path) -> None:
    files = a_small_bank().files()
    changed = files["checkpoint"].replace(b"\n7\n", b"\n8\n")
    told = dict(_done(tmp_path, packed({**files, "checkpoint": changed})))
    (printed,) = [output for command, output in told.items() if command.startswith("openssl")]
    assert "Verification Failure" in printed


def _codes(file: str, pattern: str) -> set[str]:
    return set(re.findall(pattern, (ROOT / "src/tallystick/tlog" / file).read_text("utf-8")))


def test_every_finding_is_explained() -> None:
    explained = set(re.findall(r"`([a-z]+_[a-z_]+)`", "".join(re.findall(r"^\| `.*$", PAGE, re.MULTILINE))))
    codes = _codes("offline.py", r'\.add\(\s*"([a-z_]+)"') | _codes("offline.py", r'"(payload_[a-z]+|file_[a-z]+)"')
    codes |= {
        code for file in ("meaning.py", "agreements.py", "standing.py") for code in _codes(file, r'Finding\(\s*"([a-z_]+)"')
    }
    codes |= {"signature_missing", "signature_wrong", "note_malformed", "checkpoint_malformed"}
    assert len(codes) > 45
    assert codes - explained == set()
    assert {code for code in explained if code not in codes} <= {"payload_unasked"}


def test_every_field_of_an_export_is_described() -> None:
    bank = a_small_bank()
    bank.erase(bank.events[2])
    files = bank.files(3, 4, others=[7], proofs=[2])
    names = {*files, *json.loads(files["manifest.json"]), *json.loads(files["tree.json"]), "checkpoint", "files", "erased"}
    names |= {name for event in bank.events for name in (*event.line, *json.loads(event.leaf))}
    names |= {name for line in files["others.jsonl"].splitlines() for name in json.loads(line)}
    assert {name for name in names if f"`{name}`" not in PAGE} == set()
