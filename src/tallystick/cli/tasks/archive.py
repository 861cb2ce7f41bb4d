"""A folder of exports: each a gzip file of JSON Lines with a manifest beside it, on the disk before anybody relies on them."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from tallystick.kit import Conflict, Invalid, dumps

_CHUNK = 1024 * 1024


class Archive:
    """An open folder, which is held alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def manifest(self, name: str) -> Mapping[str, Any] | None:
        """The manifest of an export that is complete, or None."""
        path = self._folder / f"{name}.json"
        try:
            return cast(Mapping[str, Any], json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except ValueError:
            raise Conflict("export_exists", f"{path} is no manifest of an export") from None

    @contextmanager
    def part(self, name: str) -> Iterator[Part]:
        """A file that is being written; gone at the end, unless it was kept."""
        path = self._folder / f"{name}.jsonl.gz.part"
        part = Part(path)
        try:
            yield part
        finally:
            part.close()
            path.unlink(missing_ok=True)

    def keep(self, part: Part, name: str) -> dict[str, Any]:
        """Give the file its name, for good; how large it is, and its digest."""
        path = self._folder / f"{name}.jsonl.gz"
        os.replace(part.path, path)
        self._settle()
        return {"file": path.name, "file_bytes": path.stat().st_size, "file_sha256": digest(path)}

    def describe(self, name: str, manifest: Mapping[str, Any]) -> None:
        """Write the manifest of an export, which says that it is complete."""
        path = self._folder / f"{name}.json.part"
        with open(path, "wb", opener=_private) as file:
            file.write(dumps(manifest) + b"\n")
            _to_disk(file)
        os.replace(path, self._folder / f"{name}.json")
        self._settle()

    def lines_digest(self, name: str) -> str:
        """The digest of the lines of an export, as the disk has them."""
        return lines_digest(self._folder / f"{name}.jsonl.gz")

    def _settle(self) -> None:
        """What files are called is on the disk once their folder is."""
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Part:
    """A file of lines that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "wb", opener=_private)  # noqa: SIM115 - `close` closes it
        # Without a name and a time in its head, equal lines make equal files.
        self._gzip = gzip.GzipFile(filename="", mode="wb", fileobj=self._file, mtime=0)

    def write(self, lines: bytes) -> None:
        """Add lines."""
        self._gzip.write(lines)

    def to_disk(self) -> str:
        """End the file, and have it on the disk; the digest of the lines that are read from it again."""
        self._gzip.close()
        _to_disk(self._file)
        return lines_digest(self.path)

    def close(self) -> None:
        """Let go of the file."""
        self._gzip.close()
        self._file.close()


@contextmanager
def archive(folder: Path) -> Iterator[Archive]:
    """Open a folder, made where it is missing, and hold it alone.

    Refuses with `Conflict` (`export_in_progress`), and with `Invalid` (`export_failed`) whatever goes wrong with its files.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield Archive(folder)
        finally:
            os.close(descriptor)
    except BrokenPipeError:
        # Somebody closed the output, which is not the folder's.
        raise
    except BlockingIOError:
        raise Conflict("export_in_progress", f"somebody else exports to {folder}") from None
    except OSError as error:
        raise Invalid("export_failed", f"{error.filename or folder}: {error.strerror or error}") from None


def lines_digest(path: Path) -> str:
    """The SHA-256 of the lines in a file, in hex."""
    with gzip.open(path) as file:
        return _digest(cast(BinaryIO, file))


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return _digest(file)


def _digest(file: BinaryIO) -> str:
    found = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        found.update(chunk)
    return found.hexdigest()


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _private(path: str, flags: int) -> int:
    """What agents worked on is nobody else's business on this machine."""
    return os.open(path, flags, 0o600)
