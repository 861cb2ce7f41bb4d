"""Transparency logs: RFC 6962 trees, the C2SP formats of notes, checkpoints and tiles, signing keys, and the offline verifier.

Pure but for the key files and the verifier's reading; the standard library and `cryptography` are all it needs.
"""

from tallystick.tlog.checkpoints import Checkpoint, open_checkpoint, sign_checkpoint
from tallystick.tlog.decisions import detail_of, told_by
from tallystick.tlog.found import Finding, Row, Sealed, Verified, Visit
from tallystick.tlog.keys import KeyFolder
from tallystick.tlog.lines import sent_id
from tallystick.tlog.meaning import Meaning
from tallystick.tlog.notes import Note, NoteError, Signature, SigningKey, VerifierKey, parse_keys, sign_note
from tallystick.tlog.offline import Progress, verify_export
from tallystick.tlog.standing import TELLING, things_of
from tallystick.tlog.tiles import MAX_ENTRY_BYTES, Tile, read_entries, tiles_of, write_entries
from tallystick.tlog.tree import (
    EMPTY_ROOT,
    HASH_BYTES,
    TILE_WIDTH,
    Frontier,
    ReadTile,
    check_consistency,
    check_inclusion,
    consistency_proof,
    consistency_tiles,
    edge_tiles,
    grown,
    inclusion_proof,
    inclusion_tiles,
    leaf_hash,
    leaf_hashes,
    node_hash,
    range_hashes,
    range_tiles,
    root,
    subtrees,
    tree_root,
)

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "MAX_ENTRY_BYTES",
    "TELLING",
    "TILE_WIDTH",
    "Checkpoint",
    "Finding",
    "Frontier",
    "KeyFolder",
    "Meaning",
    "Note",
    "NoteError",
    "Progress",
    "ReadTile",
    "Row",
    "Sealed",
    "Signature",
    "SigningKey",
    "Tile",
    "Verified",
    "VerifierKey",
    "Visit",
    "check_consistency",
    "check_inclusion",
    "consistency_proof",
    "consistency_tiles",
    "detail_of",
    "edge_tiles",
    "grown",
    "inclusion_proof",
    "inclusion_tiles",
    "leaf_hash",
    "leaf_hashes",
    "node_hash",
    "open_checkpoint",
    "parse_keys",
    "range_hashes",
    "range_tiles",
    "read_entries",
    "root",
    "sent_id",
    "sign_checkpoint",
    "sign_note",
    "subtrees",
    "things_of",
    "tiles_of",
    "told_by",
    "tree_root",
    "verify_export",
    "write_entries",
]
