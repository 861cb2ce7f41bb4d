"""Signed notes as C2SP signed-note has them, with Ed25519 keys: text, an empty line, and one line for each signature.

A note counts if a key that one trusts signed it, and no key that one trusts signed it wrongly. Signatures by other keys are
kept and not looked at: they may be of witnesses, or of a kind that is not known here.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100

_ED25519 = b"\x01"
_PRIVATE = "PRIVATE+KEY+"
_NO_NAME = re.compile(r"[\s+\x00-\x1f\x7f]")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_KEY_ID_HEX = re.compile(r"[0-9a-fA-F]{8}")


class NoteError(ValueError):
    """A note, a key or a checkpoint is not what it must be. `code` is stable and meant for programs."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half of a key with a name, written `name+hash+base64(0x01 || public key)`."""

    name: str
    public: bytes
    id: bytes = field(init=False)

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.public) != 32:
            raise NoteError("key_malformed", "an Ed25519 public key has 32 bytes")
        object.__setattr__(self, "id", sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4])

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_encode(_ED25519 + self.public)}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read a verifier key. Refuses another form, another algorithm and an id that is not the key's (`key_malformed`)."""
        name, key_id, data = _key_parts(text)
        found = cls(name, data)
        if found.id != key_id:
            raise NoteError("key_malformed", f"the id of the key {name} is {found.id.hex()}, not {key_id.hex()}")
        return found

    def verifies(self, text: str, signature: bytes) -> bool:
        """Whether this key made `signature` over `text`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: who by, and what; the bytes are not looked at until a key is."""

    name: str
    key_id: bytes
    signature: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"— {self.name} {_encode(self.key_id + self.signature)}"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private Ed25519 key with a name. `private` is the 32 bytes of its seed."""

    name: str
    private: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.private) != 32:
            raise NoteError("key_malformed", "an Ed25519 private key has 32 bytes")

    @classmethod
    def generate(cls, name: str) -> SigningKey:
        """A new key, from the system's random source."""
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> SigningKey:
        """Read `PRIVATE+KEY+name+hash+base64(0x01 || seed)`, the form that Go's note package writes."""
        if not text.startswith(_PRIVATE):
            raise NoteError("key_malformed", "a private key begins with PRIVATE+KEY+")
        name, key_id, seed = _key_parts(text.removeprefix(_PRIVATE))
        found = cls(name, seed)
        if found.verifier.id != key_id:
            raise NoteError("key_malformed", f"the private key {name} is not the one with the id {key_id.hex()}")
        return found

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""
        return VerifierKey(self.name, Ed25519PrivateKey.from_private_bytes(self.private).public_key().public_bytes_raw())

    def secret_text(self) -> str:
        """What `parse` reads. It is the secret itself."""
        return f"{_PRIVATE}{self.name}+{self.verifier.id.hex()}+{_encode(_ED25519 + self.private)}"

    def sign(self, text: str) -> Signature:
        """This key's signature over `text`."""
        signature = Ed25519PrivateKey.from_private_bytes(self.private).sign(text.encode())
        return Signature(self.name, self.verifier.id, signature)


@dataclass(frozen=True, slots=True)
class Note:
    """A text with its signatures, of which none has been checked."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(f"{signature}\n" for signature in self.signatures)

    @classmethod
    def parse(cls, data: bytes | str) -> Note:
        """Read a note, without trusting it. Refuses what has another form (`note_malformed`)."""
        if len(data) > MAX_NOTE_BYTES:
            raise NoteError("note_malformed", f"a note may have {MAX_NOTE_BYTES} bytes")
        try:
            whole = data if isinstance(data, str) else data.decode()
        except UnicodeDecodeError:
            raise NoteError("note_malformed", "a note is UTF-8") from None
        head, blank, lines = whole.rpartition("\n\n")
        if not blank or not lines.endswith("\n"):
            raise NoteError("note_malformed", "a note is text, an empty line and signature lines, each with its newline")
        _check_text(text := head + "\n")
        listed = lines[:-1].split("\n")
        if len(listed) > MAX_SIGNATURES:
            raise NoteError("note_malformed", f"a note may have {MAX_SIGNATURES} signatures")
        return cls(text, tuple(_signature(line) for line in listed))

    def verified_by(self, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
        """Which of the keys signed this.

        Refuses a note that a known key signed wrongly (`signature_wrong`) and one that none of them signed
        (`signature_missing`).
        """
        known = {(key.name, key.id): key for key in keys}
        found: dict[tuple[str, bytes], VerifierKey] = {}
        for line in self.signatures:
            key = known.get((line.name, line.key_id))
            if key is None:
                continue
            if not key.verifies(self.text, line.signature):
                raise NoteError("signature_wrong", f"the signature of {key.name}+{key.id.hex()} is not over this text")
            found[key.name, key.id] = key
        if not found:
            raise NoteError("signature_missing", "no key that is trusted signed this note")
        return tuple(found.values())


def sign_note(text: str, keys: Sequence[SigningKey], *, further: Sequence[Signature] = ()) -> Note:
    """`text` (that ends with a newline) signed with each key; `further` signatures follow, as they are."""
    _check_text(text)
    signatures = (*(key.sign(text) for key in keys), *further)
    if not 1 <= len(signatures) <= MAX_SIGNATURES:
        raise NoteError("note_malformed", f"a note has 1 to {MAX_SIGNATURES} signatures")
    return Note(text, signatures)


def parse_keys(text: str) -> tuple[VerifierKey, ...]:
    """The verifier keys in a file: one a line; empty lines and those that begin with `#` say nothing."""
    lines = [line.strip() for line in text.splitlines()]
    return tuple(VerifierKey.parse(line) for line in lines if line and not line.startswith("#"))


def _check_name(name: str) -> None:
    if not name or _NO_NAME.search(name):
        raise NoteError("key_malformed", "the name of a key is not empty and has no spaces and no plus")


def _check_text(text: str) -> None:
    if not text.endswith("\n") or _CONTROL.search(text):
        raise NoteError("note_malformed", "the text of a note ends with a newline and has no other control characters")


def _key_parts(text: str) -> tuple[str, bytes, bytes]:
    name, _, rest = text.partition("+")
    key_id, _, data = rest.partition("+")
    decoded = _decode(data)
    if not _KEY_ID_HEX.fullmatch(key_id) or decoded is None or decoded[:1] != _ED25519:
        raise NoteError("key_malformed", "a key is name+hash+base64, with an Ed25519 key (0x01) in base64")
    return name, bytes.fromhex(key_id), decoded[1:]


def _signature(line: str) -> Signature:
    dash, _, rest = line.partition(" ")
    name, _, data = rest.partition(" ")
    decoded = _decode(data)
    if dash != "—" or not name or _NO_NAME.search(name) or decoded is None or len(decoded) < 5:
        raise NoteError("note_malformed", "a signature line is an em dash, the key's name and base64")
    return Signature(name, decoded[:4], decoded[4:])


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str) -> bytes | None:
    """Bytes of standard base64 with padding, where the text is the only one for these bytes."""
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return found if _encode(found) == text else None
