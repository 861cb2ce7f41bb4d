"""`tallystick signing-keys`: the keys that sign the record's checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tallystick import tlog
from tallystick.cli.options import Data
from tallystick.cli.runtime import errors, refusals_as_lines, settings_for
from tallystick.cli.sealing import key_folder
from tallystick.kit import Conflict, Invalid

app = typer.Typer(help="Keys that sign the record: made on the first start, kept outside the database.", no_args_is_help=True)


@app.command("public")
def public(data: Data = None) -> None:
    """Print the verifier keys of all keys there ever were, one a line: what others check the record with."""
    with _keys(data) as folder:
        for key in folder.public():
            typer.echo(str(key))


@app.command("list")
def list_keys(data: Data = None) -> None:
    """List the keys: id, whether it still signs, and the origin it signs for."""
    with _keys(data) as folder:
        for key in folder.public():
            signs = any(mine.verifier.id == key.id for mine in folder.signers(key.name))
            typer.echo(f"{key.id.hex()} {'signs' if signs else 'retired'} {key.name}")


@app.command("rotate")
def rotate(data: Data = None) -> None:
    """Make a further key: from now on checkpoints carry both signatures, until the old key is retired."""
    with _keys(data) as folder:
        typer.echo(str(folder.rotate(_origin(folder)).verifier))


@app.command("retire")
def retire(key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as listed.")], data: Data = None) -> None:
    """Destroy a private key that another one has followed. What it signed can still be checked."""
    with _keys(data) as folder:
        try:
            wanted = bytes.fromhex(key_id)
        except ValueError:
            raise Invalid("key_malformed", "the id of a key is eight hexadecimal digits") from None
        folder.retire(_origin(folder), wanted)
        errors.print(f"{key_id} signs no more")


@contextmanager
def _keys(data: Path | None) -> Iterator[tlog.KeyFolder]:
    with refusals_as_lines():
        folder = key_folder(settings_for(data))
        try:
            yield folder
        except tlog.NoteError as error:
            raise Conflict(error.code, error.detail) from None
        except OSError as error:
            raise Conflict("keys_unreadable", f"{folder.path}: {error.strerror}") from None


def _origin(folder: tlog.KeyFolder) -> str:
    """The origin that is signed for now: that of the newest key."""
    known = folder.public()
    if not known:
        raise Conflict("no_signing_key", f"there is no key in {folder.path}: it is made when something is sealed first")
    return known[-1].name
