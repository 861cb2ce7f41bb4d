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

_SPACES = "\t\n\v\f\r\x85"
# What Unicode calls default ignorable beside the format characters (category Cf), and noncharacters in the midst of others.
_IGNORABLE = (
    (0x034F, 0x034F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x2065, 0x2065),
    (0x3164, 0x3164),
    (0xFDD0, 0xFDEF),
    (0xFE00, 0xFE0F),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8),
    (0xE0000, 0xE0FFF),
)


@lru_cache(maxsize=_MAX_KNOWN)
def name_form(name: str) -> str:
    """The words of a name, sorted, without capitals, marks and punctuation: `José GARCÍA-López` is `garcia jose lopez`."""
    return " ".join(sorted(_words(name)))


@lru_cache(maxsize=_MAX_KNOWN)
def id_form(text: str) -> str:
    """The letters and digits of an id: `CZ65 0800-0000` is `cz6508000000`."""
    return "".join(_words(text))


def payee_form(named: str) -> str:
    """A payee as it is compared: an account of the bank by its name; one at another bank, with its bank before the first slash.

    No account of the bank has a slash in its name. What may be another account stays another one: only spaces and capitals
    make no difference.
    """
    bank, slash, account = named.partition("/")
    return outside_form(bank, account) if slash else _squeezed(named)


def outside_form(bank: str | None, account: str | None) -> str:
    """An account at another bank, or at one that is not named: `KOMBCZPP/2501`, `/2501`. An account number may have slashes."""
    return f"{_squeezed(bank or '').replace('/', '')}/{_squeezed(account or '')}"


def _squeezed(text: str) -> str:
    squeezed = "".join(text.split())
    return squeezed.upper() if squeezed.isascii() else squeezed


def seen(text: str) -> str:
    """A text without signs that show nothing: what Unicode calls ignorable, controls that are no space, noncharacters."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter for letter in text if not _shows_nothing(letter))


@lru_cache(maxsize=_MAX_KNOWN)
def _shows_nothing(letter: str) -> bool:
    code = ord(letter)
    if unicodedata.category(letter) == "Cf" or any(first <= code <= last for first, last in _IGNORABLE):
        return True
    return (unicodedata.category(letter) == "Cc" and letter not in _SPACES) or code & 0xFFFE == 0xFFFE


def _words(text: str) -> list[str]:
    text = seen(text)
    if text.isascii():
        plain = text.lower()
    else:
        # Marks go before capitals do: some of them have a letter for a small form.
        bare = _unmarked(unicodedata.normalize("NFKD", text))
        plain = _unmarked(bare.casefold().translate(_LETTERS))
    if plain.isalnum():
        return [plain]
    return "".join(letter if letter.isalnum() else " " for letter in plain).split()


def _unmarked(text: str) -> str:
    return "".join(letter for letter in text if not unicodedata.category(letter).startswith("M"))
