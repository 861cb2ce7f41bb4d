"""Notes, checkpoints, tiles and keys: the examples of the C2SP documents, and what must be refused."""

from __future__ import annotations

import base64
import threading
from pathlib import Path

import pytest

from tallystick import tlog

# The examples of C2SP signed-note; the first has its verifier key beside it.
FOO_KEY = tlog.VerifierKey.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
FOO = (
    "This is an example message.\n"
    "\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
QUASIMODO = (
    "Ognuno sta solo sul cuor della terra\n"
    "trafitto da un raggio di sole:\n"
    "\n"
    "ed è subito sera.\n"
    "\n"
    "— quasimodo.example/salvatore"
    " NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
)
# The example of C2SP tlog-checkpoint.
SOFA = (
    "example.com/behind-the-sofa\n"
    "20852163\n"
    "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    "\n"
    "— example.com/behind-the-sofa"
    " Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)
# The example of Go's note package: Ed25519 gives one signature only, so ours must be this one.
PETER = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PETER_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_LINE = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"

KEY = tlog.SigningKey("log.example/one", b"\x01" * 32)
OTHER = tlog.SigningKey("log.example/one", b"\x02" * 32)
STRANGER = tlog.SigningKey("log.example/two", b"\x03" * 32)


def _refused(code: str) -> pytest.RaisesExc[tlog.NoteError]:
    return pytest.raises(tlog.NoteError, match=f"^{code}: ")


@pytest.mark.parametrize("text", [FOO, QUASIMODO, SOFA])
def test_an_example_is_read_and_written_as_it_stands(text: str) -> None:
    note = tlog.Note.parse(text)
    assert str(note) == text
    assert tlog.Note.parse(text.encode()) == note
    assert note.text == text[: text.rindex("\n\n") + 1]
    assert len(note.signatures) == 1


def test_the_signature_of_the_example_is_its_keys() -> None:
    assert FOO_KEY.id.hex() == "530d903a"
    assert str(FOO_KEY) == "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    assert tlog.Note.parse(FOO).verified_by([FOO_KEY]) == (FOO_KEY,)
    with _refused("signature_missing"):
        tlog.Note.parse(QUASIMODO).verified_by([FOO_KEY])


def test_the_same_key_makes_the_same_signature_as_go() -> None:
    key = tlog.SigningKey.parse(PETER)
    assert key.secret_text() == PETER
    assert str(key.verifier) == "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert str(tlog.sign_note(PETER_TEXT, [key])) == f"{PETER_TEXT}\n{PETER_LINE}"


def test_the_example_of_a_checkpoint_is_read() -> None:
    found = tlog.Checkpoint.parse(tlog.Note.parse(SOFA).text)
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert base64.b64encode(found.root).decode() == "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
    assert f"{found}\n{tlog.Note.parse(SOFA).signatures[0]}\n" == SOFA
    with _refused("signature_missing"):
        tlog.open_checkpoint(SOFA, [FOO_KEY])


def test_the_signature_of_an_unknown_key_is_kept_and_says_nothing() -> None:
    stranger = tlog.Note.parse(SOFA).signatures[0]
    post_quantum = tlog.Signature("witness.example", b"\x00\x01\x02\x03", b"\x06" * 2_420)
    note = tlog.sign_note("text\n", [KEY], further=[stranger, post_quantum])
    assert tlog.Note.parse(str(note)) == note
    assert note.verified_by([KEY.verifier, FOO_KEY]) == (KEY.verifier,)


def test_keys_that_share_a_name_or_an_id_are_other_keys() -> None:
    note = tlog.sign_note("text\n", [KEY])
    with _refused("signature_missing"):
        note.verified_by([OTHER.verifier])
    renamed = tlog.Signature("someone.else", KEY.verifier.id, note.signatures[0].signature)
    with _refused("signature_missing"):
        tlog.Note("text\n", (renamed,)).verified_by([KEY.verifier])


def test_a_wrong_signature_of_a_known_key_is_refused_beside_a_right_one() -> None:
    right = tlog.sign_note("text\n", [KEY, OTHER])
    assert right.verified_by([KEY.verifier, OTHER.verifier]) == (KEY.verifier, OTHER.verifier)
    wrong = tlog.Signature(OTHER.name, OTHER.verifier.id, right.signatures[0].signature)
    with _refused("signature_wrong"):
        tlog.Note("text\n", (right.signatures[0], wrong)).verified_by([KEY.verifier, OTHER.verifier])
    with _refused("signature_wrong"):
        tlog.Note("texT\n", right.signatures).verified_by([KEY.verifier])
    with _refused("signature_missing"):
        right.verified_by([])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\n",
        FOO.encode()[:-1],
        FOO.replace("\n\n", "\n").encode(),
        FOO.replace("—", "-").encode(),
        FOO.replace("— ", "—  ").encode(),
        FOO.replace("message", "mess\tage").encode(),
        FOO.replace("message", "mess\rage").encode(),
        FOO.replace("example.com/foo ", "example.com+foo ").encode(),
        FOO.replace("QM=\n", "QM\n").encode(),
        FOO.replace("QM=\n", "QN=\n").encode(),
        FOO.replace("QM=\n", "QM= \n").encode(),
        FOO.encode().replace(b"is an", b"is \xff an"),
        (FOO + "— a AAAAAA==\n").encode(),
        (FOO + "further text\n").encode(),
        FOO.encode() + b"\xe2\x80\x94 example.com/foo AAAAAAA=\n" * 100,
        b"x" * 1_000_001,
    ],
)
def test_what_is_no_note_is_refused(data: bytes) -> None:
    with _refused("note_malformed"):
        tlog.Note.parse(data)


def test_sixteen_signatures_are_taken() -> None:
    keys = [tlog.SigningKey("a", bytes([n]) * 32) for n in range(16)]
    note = tlog.Note.parse(str(tlog.sign_note("text\n", keys)))
    assert len(note.verified_by([key.verifier for key in keys])) == 16


@pytest.mark.parametrize("text", ["", "no newline", "a\tb\n"])
def test_a_text_that_is_none_of_a_note_is_not_signed(text: str) -> None:
    with _refused("note_malformed"):
        tlog.sign_note(text, [KEY])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a+b",
        "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/fop+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U0=",
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "exa mple+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with _refused("key_malformed"):
        tlog.VerifierKey.parse(text)
    with _refused("key_malformed"):
        tlog.SigningKey.parse(f"PRIVATE+KEY+{text}")


def test_a_file_of_keys_may_have_comments() -> None:
    assert tlog.parse_keys(f"# ours\n\n{KEY.verifier}\n  {FOO_KEY}\n") == (KEY.verifier, FOO_KEY)


def test_a_checkpoint_counts_by_a_key_of_its_own_log() -> None:
    checkpoint = tlog.Checkpoint("log.example/one", 0, tlog.EMPTY_ROOT, ("one more",))
    note = tlog.sign_checkpoint(checkpoint, [KEY, OTHER], further=[STRANGER.sign(str(checkpoint))])
    assert tlog.open_checkpoint(str(note), [OTHER.verifier]) == checkpoint
    with _refused("signature_missing"):
        tlog.open_checkpoint(note, [STRANGER.verifier])
    with _refused("key_of_another_log"):
        tlog.sign_checkpoint(checkpoint, [STRANGER])


ROOT = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


@pytest.mark.parametrize(
    "text",
    [
        "log\n0\n",
        f"log\n0\n{ROOT}",
        f"\n0\n{ROOT}\n",
        f"log\n00\n{ROOT}\n",
        f"log\n+1\n{ROOT}\n",
        f"log\n\u0661\n{ROOT}\n",
        f"log\n9223372036854775808\n{ROOT}\n",
        "log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=\n",
        "log\n0\n47DEQpj8HBSa\n",
        f"log\n0\n{ROOT}\n\nmore\n",
        f"log\n0\n{ROOT}\n\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    assert str(tlog.Checkpoint.parse(f"log\n0\n{ROOT}\n")) == f"log\n0\n{ROOT}\n"
    with _refused("checkpoint_malformed"):
        tlog.Checkpoint.parse(text)


# The examples of C2SP tlog-tiles.


def test_the_path_of_tile_1234067_is_in_groups_of_three() -> None:
    assert tlog.Tile(0, 1234067).path == "tile/0/x001/x234/067"
    assert tlog.Tile(None, 1234067, 7).path == "tile/entries/x001/x234/067.p/7"
    assert tlog.Tile.parse("tile/0/x001/x234/067") == tlog.Tile(0, 1234067)


def test_a_tree_of_70000_has_these_tiles() -> None:
    tiles = list(tlog.tiles_of(70_000))
    assert [tile for tile in tiles if tile.level == 0 and tile.width == 256] == [tlog.Tile(0, n) for n in range(273)]
    assert tiles[273:] == [tlog.Tile(0, 273, 112), tlog.Tile(1, 0), tlog.Tile(1, 1, 17), tlog.Tile(2, 0, 1)]
    assert all(tile.stands(70_000) for tile in tiles)
    assert all(tile == tlog.Tile.parse(tile.path) for tile in tiles)
    assert not tlog.Tile(0, 273, 113).stands(70_000)
    assert tlog.Tile(None, 273, 112).stands(70_000)


def test_a_tree_of_256_has_a_full_tile_and_one_of_width_one() -> None:
    assert list(tlog.tiles_of(256)) == [tlog.Tile(0, 0), tlog.Tile(1, 0, 1)]
    assert list(tlog.tiles_of(0)) == []


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/1",
        "tile/00/001",
        "tile/64/001",
        "tile/8/0/001",
        "tile/0/x000/001",
        "tile/0/x001/x234",
        "tile/0/001.p/0",
        "tile/0/001.p/256",
        "tile/0/001.p/05",
        "tile/0/\u0661\u0662\u0663",
        "tile/entry/001",
        "/tile/0/001",
        "tile/0/001\n",
        "tile/0/" + "x001/" * 20 + "001",
    ],
)
def test_another_path_names_no_tile(path: str) -> None:
    assert tlog.Tile.parse(path) is None


def test_bundles_hold_entries_after_their_lengths() -> None:
    entries = [b"", b"a", b"b" * 65_535]
    assert tlog.write_entries(entries)[:5] == b"\x00\x00\x00\x01a"
    assert tlog.read_entries(tlog.write_entries(entries)) == entries
    assert tlog.read_entries(b"") == []
    for cut in (1, 65_535, 65_536):
        with pytest.raises(ValueError, match="within an entry"):
            tlog.read_entries(tlog.write_entries(entries)[:-cut])
    with pytest.raises(ValueError, match="65536"):
        tlog.write_entries([b"b" * 65_536])


def test_a_private_key_lies_in_a_file_of_its_owner_alone(tmp_path: Path) -> None:
    folder = tlog.KeyFolder(tmp_path / "a" / "keys")
    assert (folder.signers("log"), folder.public()) == ((), ())
    (key,) = folder.ensure("log")
    assert folder.ensure("log") == folder.signers("log") == (key,)
    (path,) = folder.path.glob("*.key")
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert (folder.path / "public").read_text() == f"{key.verifier}\n"
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with _refused("key_exposed"):
            folder.signers("log")


def test_a_key_is_rotated_and_the_old_one_retired(tmp_path: Path) -> None:
    folder = tlog.KeyFolder(tmp_path)
    (old,) = folder.ensure("log")
    with _refused("key_last"):
        folder.retire("log", old.verifier.id)
    new = folder.rotate("log")
    assert folder.signers("log") == (old, new)
    note = tlog.sign_checkpoint(tlog.Checkpoint("log", 0, tlog.EMPTY_ROOT), folder.signers("log"))
    assert note.verified_by([old.verifier]) == (old.verifier,)
    with _refused("key_unknown"):
        folder.retire("another", old.verifier.id)
    folder.retire("log", old.verifier.id)
    assert folder.signers("log") == (new,)
    assert folder.public() == (old.verifier, new.verifier)
    assert old.secret_text() not in "".join(path.read_text() for path in tmp_path.iterdir())


def test_keys_of_several_logs_lie_beside_each_other(tmp_path: Path) -> None:
    folder = tlog.KeyFolder(tmp_path)
    one, two = folder.ensure("one"), folder.ensure("two")
    assert (folder.signers("one"), folder.signers("two")) == (one, two)


def test_processes_that_start_together_make_one_key(tmp_path: Path) -> None:
    found: list[tuple[tlog.SigningKey, ...]] = []
    threads = [threading.Thread(target=lambda: found.append(tlog.KeyFolder(tmp_path).ensure("log"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_file_that_holds_another_key_is_refused(tmp_path: Path) -> None:
    folder = tlog.KeyFolder(tmp_path)
    folder.ensure("log")
    (path,) = tmp_path.glob("*.key")
    path.rename(tmp_path / "00000000.key")
    with _refused("key_malformed"):
        folder.signers("log")


def test_the_last_checkpoint_is_remembered(tmp_path: Path) -> None:
    folder = tlog.KeyFolder(tmp_path)
    assert folder.last_checkpoint() is None
    for size in (1, 2):
        note = tlog.sign_checkpoint(tlog.Checkpoint("log", size, b"\x05" * 32), folder.ensure("log"))
        folder.keep_checkpoint(note)
        assert folder.last_checkpoint() == note
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".key") == ["last-checkpoint", "lock", "public"]


def test_a_secret_is_not_shown() -> None:
    assert KEY.private.hex() not in repr(KEY)
    assert repr(KEY.private) not in repr(KEY)
