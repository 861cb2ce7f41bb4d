"""The base of the house: money, errors, canonical JSON, names. No I/O, and no import of any other room."""

from tallystick.kit.collector import seldom_collected
from tallystick.kit.ending import end, wait_for
from tallystick.kit.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    TallystickError,
    TooMany,
    Unauthorized,
    Unavailable,
)
from tallystick.kit.json import MAX_BRACKETS, MAX_INTEGER, digest, dumps, loads, loads_stored
from tallystick.kit.money import MAX_MINOR, Asset, format_minor, parse_minor, parse_signed_minor, plain
from tallystick.kit.names import NAME_PATTERN, check_name, check_text

__all__ = [
    "MAX_BRACKETS",
    "MAX_INTEGER",
    "MAX_MINOR",
    "NAME_PATTERN",
    "Asset",
    "Conflict",
    "Forbidden",
    "Invalid",
    "NotFound",
    "TallystickError",
    "TooMany",
    "Unauthorized",
    "Unavailable",
    "check_name",
    "check_text",
    "digest",
    "dumps",
    "end",
    "format_minor",
    "loads",
    "loads_stored",
    "parse_minor",
    "parse_signed_minor",
    "plain",
    "seldom_collected",
    "wait_for",
]
