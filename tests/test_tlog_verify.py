"""The offline verifier: a true export passes, and whatever was changed in one is found and named."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick import tlog
from tests.tlog_exports import KEY, ORIGIN, Bank, Files, dumps, lines, packed, signed_off, zipped


def a_bank(events: int = 40) -> Bank:
    bank = Bank()
    for n in range(events):
        if n % 4 == 0:
            bank.post(2 * n, 2 * n + 1)
        elif n % 4 == 1:
            bank.step(*range(100 * n, 100 * n + n % 5 + 1))
        elif n % 4 == 2:
            bank.do("cases.open", "case", payload=dumps({"name": "Ada Lovelace", "n": n}))
        else:
            bank.do("work.finish", "task")
    return bank


BANK = a_bank()
PART = signed_off(BANK.files(3, 33, others=[34, 36, 39], proofs=[2]))
KEPT = BANK.checkpoint(2)
KEYS = (KEY.verifier,)


def verified(data: bytes, *checkpoints: bytes, keys: tuple[tlog.VerifierKey, ...] = KEYS, **more: Any) -> tlog.Verified:
    named = [(f"kept {n}", note) for n, note in enumerate(checkpoints)]
    return tlog.verify_export(io.BytesIO(data), keys=keys, checkpoints=named, **more)


def codes(found: tlog.Verified) -> set[str]:
    return set(found.counts)


def forged(change: Callable[[list[dict[str, Any]]], object], name: str = "events.jsonl", bank: Bank = BANK) -> tlog.Verified:
    """What is found after `change` was made to the lines of a file, and the manifest made to fit."""
    files = bank.files()
    rows = [json.loads(line) for line in files[name].splitlines()]
    change(rows)
    return verified(packed({**files, name: lines(rows)}))


@pytest.mark.parametrize(
    ("first", "last"), [(0, 39), (0, 0), (39, 39), (7, 31), (16, 31), (0, 25), (33, 39), (12, 11), (0, -1)]
)
def test_any_range_of_a_true_record_is_clean(first: int, last: int) -> None:
    seen: list[tuple[int, int]] = []
    found = verified(packed(BANK.files(first, last)), progress=lambda done, total: seen.append((done, total)))
    assert found.findings == []
    assert (found.clean, found.origin, found.first, found.last, found.size) == (True, ORIGIN, first, last, 40)
    assert found.events == last - first + 1
    assert found.signed_by == (str(KEY.verifier),)
    assert seen[-1] == (found.events, found.events)


def test_everything_in_an_export_was_looked_at() -> None:
    found = verified(packed(BANK.files()))
    assert (found.events, found.items, found.payloads, found.erased) == (40, 20 + 30, 10, 0)


@pytest.mark.parametrize("size", [0, 1, 12, 13, 20, 31, 32, 33, 39, 40])
def test_a_checkpoint_of_before_is_compared_wherever_the_events_reach(size: int) -> None:
    kept = BANK.checkpoint(size)
    assert verified(packed(BANK.files()), kept).clean
    assert verified(packed(BANK.files(12, 31, proofs=[size] * (0 < size < 40))), kept).clean
    rewritten = a_bank()
    rewritten.events[0] = Bank().do("ledger.post", "nothing")
    other = rewritten.checkpoint(size)
    for files in (BANK.files(), BANK.files(12, 31, proofs=[size] * (0 < size < 40))):
        found = verified(packed(files), kept, other)
        assert [(finding.code, finding.place) for finding in found.findings] == [("checkpoint_inconsistent", "kept 1")] * (
            size > 0
        )


def test_a_checkpoint_that_cannot_be_compared_is_no_success() -> None:
    assert codes(verified(packed(BANK.files(12, 31)), BANK.checkpoint(5))) == {"checkpoint_not_compared"}
    assert codes(verified(packed(a_bank(30).files()), BANK.checkpoint())) == {"checkpoint_newer"}
    elsewhere = Bank(origin="tallystick/elsewhere")
    key = tlog.SigningKey(elsewhere.origin, b"\x08" * 32)
    found = verified(packed(BANK.files()), elsewhere.checkpoint(0, key), keys=(*KEYS, key.verifier))
    assert codes(found) == {"checkpoint_of_another_log"}


def test_only_trusted_keys_count() -> None:
    other = tlog.SigningKey(ORIGIN, b"\x09" * 32)
    forger = {**BANK.files(), "checkpoint": BANK.checkpoint(None, other), "keys": f"{other.verifier}\n".encode()}
    assert codes(verified(packed(forger))) == {"signature_missing"}
    assert codes(verified(packed(BANK.files()), BANK.checkpoint(9, other))) == {"signature_missing"}
    both = {**BANK.files(), "checkpoint": BANK.checkpoint(None, other, KEY)}
    assert verified(packed(both)).clean
    assert verified(packed(both), keys=(*KEYS, other.verifier)).signed_by == (str(other.verifier), str(KEY.verifier))
    assert codes(verified(packed(BANK.files()), keys=())) == {"signature_missing"}


def test_an_altered_leaf_is_named() -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[17]["leaf"] = rows[17]["leaf"].replace('"me"', '"he"')

    found = forged(change)
    assert [(finding.code, finding.place) for finding in found.findings] == [("leaf_altered", "event at index 17")]


def test_an_altered_leaf_with_a_hash_that_fits_is_found() -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[17]["leaf"] = rows[17]["leaf"].replace('"me"', '"he"')
        rows[17]["hash"] = tlog.leaf_hash(rows[17]["leaf"].encode()).hex()

    assert codes(forged(change)) == {"root_differs"}


def test_a_day_written_anew_without_the_key_is_found_and_with_the_key_differs_from_what_was_kept() -> None:
    other = a_bank()
    other.events[11] = Bank(other.events[:11]).do("work.finish", "nothing")
    forger = tlog.SigningKey(ORIGIN, b"\x0a" * 32)
    assert "signature_missing" in codes(verified(packed({**other.files(), "checkpoint": other.checkpoint(None, forger)})))
    assert verified(packed(other.files())).clean
    found = verified(packed(other.files()), BANK.checkpoint(11), BANK.checkpoint(12), BANK.checkpoint(40))
    assert [finding.place for finding in found.findings] == ["kept 1", "kept 2"]


@pytest.mark.parametrize("at", [0, 17, 39])
def test_a_missing_event_is_named(at: int) -> None:
    found = forged(lambda rows: rows.pop(at))
    assert {"events_missing", "root_differs"} & codes(found)
    if at < 39:
        assert ("index_differs", f"event at index {at}") in {(finding.code, finding.place) for finding in found.findings}


def test_two_exchanged_events_are_found() -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[3], rows[7] = {**rows[7], "index": "3"}, {**rows[3], "index": "7"}

    assert codes(forged(change)) == {"root_differs"}


def test_an_event_that_was_sealed_twice_is_found() -> None:
    bank = a_bank(8)
    bank.events.append(type(bank.events[3])(bank.events[3].leaf, "task", {**bank.events[3].line, "index": "8"}))
    found = verified(packed(bank.files()))
    assert [(finding.code, finding.place) for finding in found.findings] == [("event_twice", "event at index 8")]


CHANGES: list[tuple[str, str, str, Callable[[list[dict[str, Any]]], object]]] = [
    ("events.jsonl", "payload_altered", "event at index 2", lambda rows: rows[2]["payload"].update(text='{"n":2}')),
    ("events.jsonl", "payload_altered", "event at index 2", lambda rows: rows[2]["payload"].update(salt="00" * 16)),
    ("events.jsonl", "payload_missing", "event at index 2", lambda rows: rows[2].pop("payload")),
    ("events.jsonl", "payload_unasked", "event at index 3", lambda rows: rows[3].update(payload={"salt": "", "text": "x"})),
    ("events.jsonl", "erasure_unknown", "event at index 2", lambda rows: rows[2].update(payload={"erased": "1003"})),
    ("events.jsonl", "items_altered", "event at index 0", lambda rows: rows[0]["items"].reverse()),
    ("events.jsonl", "items_differ", "event at index 0", lambda rows: rows[0]["items"].pop()),
    ("events.jsonl", "items_differ", "event at index 3", lambda rows: rows[3].update(items=["00" * 32], refs=["1"])),
    ("events.jsonl", "refs_altered", "event at index 0", lambda rows: rows[0]["refs"].reverse()),
    ("events.jsonl", "leaf_malformed", "event at index 0", lambda rows: rows[0].pop("refs")),
    ("events.jsonl", "leaf_malformed", "event at index 5", lambda rows: rows[5].update(leaf="5")),
    ("events.jsonl", "line_malformed", "events.jsonl line 6", lambda rows: rows[5].pop("leaf")),
    ("events.jsonl", "line_malformed", "events.jsonl line 6", lambda rows: rows[5].update(hash="00")),
    ("rows/journal.jsonl", "row_altered", "journal 8", lambda rows: rows[2].update(sent=rows[2]["sent"][:-2] + "ff")),
    ("rows/journal.jsonl", "row_missing", "journal 8", lambda rows: rows.pop(2)),
    ("rows/journal.jsonl", "row_missing", "journal 73", lambda rows: rows.pop()),
    ("rows/journal.jsonl", "row_missing", "journal 8", lambda rows: rows[2].update(id="9999")),
    ("rows/journal.jsonl", "row_unasked", "journal 9999", lambda rows: rows[2].update(id="9999")),
    ("rows/journal.jsonl", "row_unasked", "journal 1", lambda rows: rows.append(rows[1])),
    ("rows/step.jsonl", "row_altered", "step 500", lambda rows: rows[2].update(text="{}")),
    ("rows/step.jsonl", "erasure_unknown", "step 500", lambda rows: rows.__setitem__(2, {"id": "500", "erased": "1000"})),
]


@pytest.mark.parametrize(("name", "code", "place", "change"), CHANGES)
def test_what_lies_beneath_and_beside_an_event_is_compared(
    name: str, code: str, place: str, change: Callable[[list[dict[str, Any]]], object]
) -> None:
    found = forged(change, name)
    assert (code, place) in {(finding.code, finding.place) for finding in found.findings}


def test_rows_after_those_of_a_missing_event_are_not_called_wrong() -> None:
    found = forged(lambda rows: rows.pop(4))
    rows = [(finding.code, finding.place) for finding in found.findings if finding.code.startswith("row")]
    assert rows == [("row_unasked", "journal 8"), ("row_unasked", "journal 9")]


def test_rows_that_are_left_out_altogether_are_missed() -> None:
    files = BANK.files()
    del files["rows/step.jsonl"]
    assert verified(packed(files)).counts == {"row_missing": 30}


def test_a_row_exchanged_for_another_with_its_digest_is_found() -> None:
    files = BANK.files()
    rows = [json.loads(line) for line in files["rows/journal.jsonl"].splitlines()]
    rows[0]["sent"], rows[1]["sent"] = rows[1]["sent"], rows[0]["sent"]
    events = [json.loads(line) for line in files["events.jsonl"].splitlines()]
    events[0]["items"].reverse()
    found = verified(packed({**files, "rows/journal.jsonl": lines(rows), "events.jsonl": lines(events)}))
    assert codes(found) == {"items_altered", "row_altered"}


def test_what_was_erased_is_said_and_nothing_of_it_is_left() -> None:
    bank = a_bank()
    before = bank.checkpoint()
    bank.erase(bank.events[2], bank.events[5])
    assert b"Ada" in zipped(bank.files()) or b"Ada" in bank.files()["events.jsonl"]
    found = verified(packed(bank.files()), before)
    assert (found.findings, found.erased) == ([], 1 + len(bank.events[5].rows))
    gone = bank.files(2, 5, others=[40])
    assert b"Ada" not in gone["events.jsonl"] + gone["rows/step.jsonl"]
    assert verified(packed(gone), before).counts == {"checkpoint_not_compared": 1}
    assert verified(packed(bank.files(2, 5))).counts == {"erasure_unknown": found.erased}


def test_an_erasure_from_outside_of_the_events_must_be_in_the_tree() -> None:
    bank = a_bank()
    bank.erase(bank.events[2])
    files = bank.files(2, 5, others=[40])
    (other,) = [json.loads(line) for line in files["others.jsonl"].splitlines()]
    other["leaf"] = other["leaf"].replace('"dpo"', '"ceo"')
    assert codes(verified(packed({**files, "others.jsonl": lines([other])}))) == {"leaf_altered"}
    other["leaf"] = "{}"
    assert codes(verified(packed({**files, "others.jsonl": lines([other])}))) >= {"leaf_malformed", "erasure_unknown"}


def test_an_erasure_counts_for_what_it_erased_alone() -> None:
    bank = a_bank()
    event = json.loads(bank.erase(bank.events[2]).leaf)["event"]
    bank.events[6].line["payload"] = {"erased": event}
    found = verified(packed(bank.files()))
    assert [(finding.code, finding.place) for finding in found.findings] == [("erasure_unknown", "event at index 6")]


def test_one_looks_at_the_meaning_of_each_event() -> None:
    seen: list[tlog.Sealed] = []

    def visit(sealed: tlog.Sealed) -> list[tlog.Finding]:
        seen.append(sealed)
        return [tlog.Finding("odd", f"event at index {sealed.index}", "")] * (sealed.index % 2)

    found = verified(packed(BANK.files()), visit=visit)
    assert found.counts == {"odd": 20}
    assert [row.id for row in seen[4].rows] == ["8", "9"]
    assert seen[4].rows[0].sent is not None
    assert (seen[5].rows[0].text, seen[2].payload) == ('{"prompt": "Is Ada Lovelace late?"}', '{"n":2,"name":"Ada Lovelace"}')


def test_one_sees_the_meaning_of_events_from_outside_first() -> None:
    seen: list[tuple[int, list[str]]] = []

    def visit(sealed: tlog.Sealed) -> list[tlog.Finding]:
        seen.append((sealed.index, [row.id for row in sealed.rows]))
        return []

    assert verified(packed(BANK.files(3, 4, others=[0, 39])), visit=visit).clean
    assert seen == [(0, ["0", "1"]), (39, []), (3, []), (4, ["8", "9"])]


OTHERS: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("row_altered", lambda other: other["rows"][1].update(sent=other["rows"][1]["sent"][:-2] + "ff")),
    ("row_missing", lambda other: other["rows"].pop()),
    ("row_missing", lambda other: other.pop("rows")),
    ("row_unasked", lambda other: other["rows"].append({"id": "5", "sent": ""})),
    ("line_malformed", lambda other: other.pop("items")),
    ("items_altered", lambda other: other["items"].reverse()),
    ("leaf_altered", lambda other: other.update(index="4")),
    ("leaf_altered", lambda other: other.update(hash="00" * 32)),
    ("leaf_altered", lambda other: other["path"].reverse()),
    ("line_malformed", lambda other: other.pop("path")),
    ("leaf_malformed", lambda other: other.update(leaf="{}")),
]


@pytest.mark.parametrize(("code", "change"), OTHERS)
def test_events_from_outside_are_looked_at_as_well(code: str, change: Callable[[dict[str, Any]], object]) -> None:
    files = BANK.files(3, 7, others=[0])
    other = json.loads(files["others.jsonl"])
    change(other)
    assert code in codes(verified(packed({**files, "others.jsonl": lines([other])})))


def test_an_event_of_the_range_does_not_stand_outside_as_well() -> None:
    assert codes(verified(packed(BANK.files(3, 7, others=[3])))) == {"event_twice"}


def test_findings_are_counted_past_those_that_are_listed() -> None:
    found = forged(lambda rows: [row["payload"].update(salt="00") for row in rows if "payload" in row], bank=a_bank(500))
    assert found.counts == {"payload_altered": 125}
    assert len(found.findings) == 100


def _flip(data: bytes, at: int, mask: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_flipped_byte_of_any_file_is_found(data: st.DataObject) -> None:
    files = PART
    name = data.draw(st.sampled_from(sorted(files)))
    at, mask = data.draw(st.integers(0, len(files[name]) - 1)), data.draw(st.integers(1, 255))
    assert not verified(zipped({**files, name: _flip(files[name], at, mask)})).clean


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_byte_flipped_by_one_who_makes_the_manifest_fit_is_found(
    data: st.DataObject,
) -> None:
    files = PART
    name = data.draw(st.sampled_from(sorted({*files} - {"manifest.json", "keys"})))
    changed = _flip(files[name], data.draw(st.integers(0, len(files[name]) - 1)), data.draw(st.integers(1, 255)))
    try:
        again = packed({**files, name: changed})
    except UnicodeDecodeError:
        return
    found = verified(again, KEPT)
    assert not found.clean or _meaning(name, changed) == _meaning(name, files[name])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in _places(one, (*path, key)))]


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_json_in_place_of_any_part_of_a_file_is_found_and_breaks_nothing(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(name for name in PART if "json" in name)))
    whole = [json.loads(line) for line in PART[name].splitlines()]
    path = data.draw(st.sampled_from(_places(whole)[1:]))
    inner = whole
    for key in path[:-1]:
        inner = inner[key]
    if inner[path[-1]] == (value := data.draw(JSON)):
        return
    inner[path[-1]] = value
    changed = {**PART, name: lines(whole) if name.endswith("l") else dumps(whole[0]).encode()}
    assert not verified(zipped(changed) if name == "manifest.json" else packed(changed), KEPT).clean


def _meaning(name: str, data: bytes) -> Any:
    """What a file says: spaces between the parts of JSON say nothing, and neither does the case of hexadecimal digits."""
    return [json.loads(line.lower()) for line in data.splitlines()] if "json" in name else data


@given(st.integers(0, 10**9), st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_a_flipped_byte_of_the_archive_is_found_or_leaves_every_file_as_it_was(at: int, mask: int) -> None:
    whole = zipped(PART)
    flipped = _flip(whole, at, mask)
    if verified(flipped).clean:
        with zipfile.ZipFile(io.BytesIO(whole)) as one, zipfile.ZipFile(io.BytesIO(flipped)) as two:
            assert one.namelist() == two.namelist()
            assert [one.read(name) for name in one.namelist()] == [two.read(name) for name in two.namelist()]


@given(st.integers(0, 10**9))
@settings(max_examples=50, deadline=None)
def test_a_tail_cut_from_the_archive_is_found(at: int) -> None:
    whole = zipped(PART)
    assert not verified(whole[: at % len(whole)]).clean


MANIFESTS: list[Callable[[dict[str, Any]], object]] = [
    lambda manifest: manifest.update(first="1"),
    lambda manifest: manifest.update(last="38"),
    lambda manifest: manifest.update(last=39),
    lambda manifest: manifest.update(size="41"),
    lambda manifest: manifest.update(origin="elsewhere"),
    lambda manifest: manifest.update(format="tallystick-record-2"),
    lambda manifest: manifest.update({"from": "2026-11-21T18:00:00.000001Z"}),
    lambda manifest: manifest.update(to="2026-11-22T18:00:00.000001Z"),
    lambda manifest: manifest.update(more="fields"),
    lambda manifest: manifest.pop("checkpoint"),
    lambda manifest: manifest.update(checkpoint=manifest["checkpoint"] + "more"),
    lambda manifest: manifest["files"].pop(),
    lambda manifest: manifest["files"].append(manifest["files"][0]),
    lambda manifest: manifest["files"].append({"name": "gone.jsonl", "sha256": "00" * 32, "rows": "0"}),
    lambda manifest: manifest["files"][0].update(rows="1"),
    lambda manifest: manifest["files"][3].update(rows="41"),
    lambda manifest: manifest["files"][3].update(name=3),
    lambda manifest: manifest.update(files={}),
]


@pytest.mark.parametrize("change", MANIFESTS)
def test_a_manifest_that_says_something_else_is_found(change: Callable[[dict[str, Any]], object]) -> None:
    files = signed_off(BANK.files())
    manifest = json.loads(files["manifest.json"])
    change(manifest)
    assert not verified(zipped({**files, "manifest.json": dumps(manifest).encode()})).clean


def test_files_that_nobody_lists_or_that_stand_twice_are_found() -> None:
    files = signed_off(BANK.files())
    assert codes(verified(zipped({**files, "more": b""}))) == {"file_unlisted"}
    out = io.BytesIO(zipped(files))
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(out, "a") as archive:
        archive.writestr("keys", files["keys"])
    assert codes(verified(out.getvalue())) == {"file_twice"}
    assert codes(verified(b"no archive")) == {"export_broken"}


def test_further_files_are_hashed_as_well() -> None:
    files: Files = {**BANK.files(), "outcomes.jsonl": b"{}\n"}
    assert verified(packed(files)).clean
    assert codes(verified(zipped({**signed_off(files), "outcomes.jsonl": b"[]\n"}))) == {"file_altered"}


@pytest.fixture
def at_hand(tmp_path: Path) -> Path:
    (tmp_path / "export.zip").write_bytes(packed(BANK.files()))
    (tmp_path / "keys").write_text(f"{KEY.verifier}\n")
    (tmp_path / "kept").write_bytes(BANK.checkpoint(21))
    return tmp_path


def _command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "tallystick.tlog.verify", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_command_says_what_it_verified(at_hand: Path) -> None:
    done = _command(at_hand, "export.zip", "--keys", "keys", "--checkpoint", "kept")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"verified origin={ORIGIN} events=0..39 size=40 items=50 payloads=10 erased=0 checkpoints=1 findings=0\n"
    )


def test_the_command_names_what_is_wrong_and_exits_with_1(at_hand: Path) -> None:
    (at_hand / "kept").write_bytes(BANK.checkpoint(21)[:-9] + b"AAAAAAA=\n")
    done = _command(at_hand, "export.zip", "--keys", "keys", "--checkpoint", "kept")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("signature_wrong  kept  ")


def test_the_command_without_keys_or_files_exits_with_2(at_hand: Path) -> None:
    assert _command(at_hand, "export.zip").returncode == 2
    assert _command(at_hand, "export.zip", "--keys", "nowhere").returncode == 2
    assert _command(at_hand, "export.zip", "--keys", "export.zip").returncode == 2


def test_a_task_that_ended_twice_or_under_anothers_fence_is_named() -> None:
    def ended(index: int, task: str, fence: str | None) -> tlog.Sealed:
        text = json.dumps({"fence": fence, "state": "done", "task": task} if fence else {"task": task})
        event = {"verb": "tasks.finish", "items": {}, "subject": {"kind": "outcome"}}
        return tlog.Sealed(index, event, [tlog.Row(task, text)], None)

    meaning = tlog.Meaning()
    assert list(meaning(ended(0, "1", "10"))) == list(meaning(ended(1, "2", "11"))) == []
    assert [one.code for one in meaning(ended(2, "1", "12"))] == ["outcome_twice"]
    assert [one.code for one in meaning(ended(3, "3", "10"))] == ["fence_twice"]
    assert [one.code for one in meaning(ended(4, "4", None))] == ["outcome_without_fence"]
    assert [one.code for one in meaning(tlog.Sealed(5, {"verb": "ledger.post"}, [], None))] == ["posting_without_journals"]
