"""Checkpoints as C2SP tlog-checkpoint has them: a note that says which root a log's tree has at one size."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tallystick.tlog.notes import Note, NoteError, Signature, SigningKey, VerifierKey, sign_note
from tallystick.tlog.tree import HASH_BYTES, MAX_SIZE

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tree of the log `origin` had `root` when it had `size` leaves. `extensions` are further lines of text."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lines = (self.origin, *self.extensions)
        if not all(lines) or any("\n" in line for line in lines):
            raise NoteError("checkpoint_malformed", "the origin and further lines are single lines that are not empty")
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_BYTES:
            raise NoteError("checkpoint_malformed", "a checkpoint has a size from 0 on and a root of 32 bytes")

    def __str__(self) -> str:
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the text of a checkpoint's note. Refuses another form (`checkpoint_malformed`)."""
        origin, *rest = text.split("\n")
        if len(rest) < 3 or rest[-1] or not _SIZE.fullmatch(rest[0]):
            raise NoteError("checkpoint_malformed", "a checkpoint is an origin, a size and a root, each on its line")
        try:
            found = cls(origin, int(rest[0]), base64.b64decode(rest[1], validate=True), tuple(rest[2:-1]))
        except binascii.Error:
            raise NoteError("checkpoint_malformed", "the root is not base64") from None
        if str(found) != text:
            raise NoteError("checkpoint_malformed", "the root is not the base64 that its bytes have")
        return found


def sign_checkpoint(checkpoint: Checkpoint, keys: Sequence[SigningKey], *, further: Sequence[Signature] = ()) -> Note:
    """The checkpoint as a note, signed by the log's keys, whose name is the origin. `further` signatures follow."""
    for key in keys:
        if key.name != checkpoint.origin:
            raise NoteError("key_of_another_log", f"the key {key.name} does not sign for {checkpoint.origin}")
    return sign_note(str(checkpoint), keys, further=further)


def open_checkpoint(note: Note | bytes | str, keys: Iterable[VerifierKey]) -> Checkpoint:
    """What a checkpoint says, once a key of its log that is among the trusted ones is known to have signed it.

    Refuses what is no checkpoint (`note_malformed`, `checkpoint_malformed`), what a trusted key did not sign
    (`signature_missing`) or signed wrongly (`signature_wrong`).
    """
    opened = note if isinstance(note, Note) else Note.parse(note)
    signed_by = opened.verified_by(keys)
    found = Checkpoint.parse(opened.text)
    if all(key.name != found.origin for key in signed_by):
        raise NoteError("signature_missing", f"no trusted key of {found.origin} signed this checkpoint")
    return found
