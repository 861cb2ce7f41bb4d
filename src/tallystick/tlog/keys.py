"""The folder of the keys that sign a record: outside the database, so that who has one does not have the other.

    <8 hex digits>.key   a private key, mode 0600, in the form `SigningKey.parse` reads
    public               the verifier keys of all keys there ever were, one a line; a retired key has only this line
    last-checkpoint      the newest checkpoint that was published

Processes that share the folder take turns by a lock on `lock`. Files are replaced as a whole, so none is ever half written.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tallystick.tlog.notes import Note, NoteError, SigningKey, VerifierKey, parse_keys

_PUBLIC = "public"
_LAST = "last-checkpoint"


class KeyFolder:
    """The keys in one folder."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def signers(self, name: str) -> tuple[SigningKey, ...]:
        """The private keys with this name, in the order in which they were made.

        Refuses a file that others may read or that is not a key's (`key_exposed`, `key_malformed`, `key_unreadable`).
        """
        order = {key.id: at for at, key in enumerate(self.public())}
        if not self.path.is_dir():
            return ()
        found = [key for path in sorted(self.path.glob("*.key")) if (key := _read_private(path)).name == name]
        return tuple(sorted(found, key=lambda key: order.get(key.verifier.id, len(order))))

    def public(self) -> tuple[VerifierKey, ...]:
        """The verifier keys of all keys there ever were, retired ones too, oldest first."""
        return parse_keys(_read(self.path / _PUBLIC))

    def ensure(self, name: str) -> tuple[SigningKey, ...]:
        """The private keys with this name; makes one if there is none."""
        with self._locked():
            found = self.signers(name)
            return found or (self._add(name),)

    def rotate(self, name: str) -> SigningKey:
        """Make a further key. All keys sign until the old ones are retired."""
        with self._locked():
            self.signers(name)
            return self._add(name)

    def retire(self, name: str, key_id: bytes) -> None:
        """Destroy a private key; its verifier key stays in `public`, so what it signed can still be checked.

        Refuses a key that is not there (`key_unknown`) and the only one with this name (`key_last`).
        """
        with self._locked():
            found = self.signers(name)
            if all(key.verifier.id != key_id for key in found):
                raise NoteError("key_unknown", f"{name} has no private key {key_id.hex()}")
            if len(found) == 1:
                raise NoteError("key_last", f"{key_id.hex()} is the only key of {name}; rotate first")
            self._private_path(key_id).unlink()
            _sync(self.path)

    def last_checkpoint(self) -> Note | None:
        """The newest checkpoint that was published from here; None if there was none."""
        text = _read(self.path / _LAST)
        return Note.parse(text) if text else None

    def keep_checkpoint(self, note: Note) -> None:
        """Remember the newest checkpoint that was published."""
        with self._locked():
            _replace(self.path / _LAST, str(note), 0o644)

    def _add(self, name: str) -> SigningKey:
        known = self.public()
        key = SigningKey.generate(name)
        while any(key.verifier.id == other.id for other in known):
            key = SigningKey.generate(name)
        # The public half goes first: a checkpoint must not be signed by a key that nobody can look up.
        _replace(self.path / _PUBLIC, "".join(f"{other}\n" for other in (*known, key.verifier)), 0o644)
        _replace(self._private_path(key.verifier.id), key.secret_text() + "\n", 0o600)
        return key

    def _private_path(self, key_id: bytes) -> Path:
        return self.path / f"{key_id.hex()}.key"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _read_private(path: Path) -> SigningKey:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            text = file.read(10_000).decode("utf-8", "replace")
    except OSError as error:
        raise NoteError("key_unreadable", f"{path}: {error.strerror}") from None
    if mode & 0o077:
        raise NoteError("key_exposed", f"{path} has mode {mode:04o}: others may read it; rotate if one could have")
    key = SigningKey.parse(text.strip())
    if path.stem != key.verifier.id.hex():
        raise NoteError("key_malformed", f"{path} holds the key {key.verifier.id.hex()}")
    return key


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""


def _replace(path: Path, text: str, mode: int) -> None:
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
