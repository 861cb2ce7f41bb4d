"""How names and ids are written before they are compared, so that spelling does not hide a match."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

MAX_NAME = 500
_MAX_KNOWN = 4096
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ħ": "h", "ŧ": "t", "ŋ": "n"}
    | {"\N{LATIN SMALL LETTER DOTLESS I}": "i"}
)


@lru_cache(maxsize=_MAX_KNOWN)
def name_form(name: str) -> str:
    """The words of a name, sorted, without capitals, accents and punctuation: `José GARCÍA-López` is `garcia jose lopez`."""
    return " ".join(sorted(_words(name)))


@lru_cache(maxsize=_MAX_KNOWN)
def id_form(text: str) -> str:
    """The letters and digits of an id: `CZ65 0800-0000` is `cz6508000000`."""
    return "".join(_words(text))


def _words(text: str) -> list[str]:
    if text.isascii():
        plain = text.lower()
    else:
        folded = unicodedata.normalize("NFKD", text).casefold().translate(_LETTERS)
        plain = "".join(letter for letter in folded if not unicodedata.combining(letter))
    if plain.isalnum():
        return [plain]
    return "".join(letter if letter.isalnum() else " " for letter in plain).split()
