"""Who acts, and how they are known: principals and API keys."""

from tallystick.identity.model import KeyInfo, Mandate, NewKey, Principal, house
from tallystick.identity.service import authenticate, create_key, keys, revoke_key

__all__ = [
    "KeyInfo",
    "Mandate",
    "NewKey",
    "Principal",
    "authenticate",
    "create_key",
    "house",
    "keys",
    "revoke_key",
]
