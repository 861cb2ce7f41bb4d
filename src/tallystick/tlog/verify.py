"""`python -m tallystick.tlog.verify`: the offline verifier as a command, for those who have nothing else of Tallystick."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tallystick.tlog.found import MAX_LISTED
from tallystick.tlog.meaning import Meaning
from tallystick.tlog.notes import NoteError, parse_keys
from tallystick.tlog.offline import verify_export


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify an export. 0 where nothing is wrong, 1 where something is, 2 where it was not said with what to verify."""
    parser = argparse.ArgumentParser(prog="python -m tallystick.tlog.verify", description=__doc__)
    parser.add_argument("export", type=Path, help="The export, a zip file.")
    parser.add_argument("--keys", type=Path, required=True, help="Verifier keys you trust, one a line; not the export's.")
    parser.add_argument(
        "--checkpoint", type=Path, action="append", default=[], help="A checkpoint you kept; may be given again."
    )
    chosen = parser.parse_args(arguments)
    try:
        keys = parse_keys(chosen.keys.read_text("utf-8"))
        checkpoints = [(str(path), path.read_bytes()) for path in chosen.checkpoint]
    except (NoteError, OSError, UnicodeDecodeError) as error:
        print(error, file=sys.stderr)
        return 2
    meaning = Meaning()
    found = verify_export(chosen.export, keys=keys, checkpoints=checkpoints, visit=meaning, finish=meaning.end)
    for finding in found.findings:
        print(f"{finding.code}  {finding.place}  {finding.detail}")
    for code, count in found.counts.items():
        if count > MAX_LISTED:
            print(f"{code}  {count - MAX_LISTED} more")
    print(
        f"verified origin={found.origin} events={found.first}..{found.last} size={found.size} items={found.items}"
        f" payloads={found.payloads} erased={found.erased} checkpoints={len(checkpoints)} findings={found.total}"
    )
    return 0 if found.clean else 1


if __name__ == "__main__":
    sys.exit(main())
