"""Who acts, and how they are known: principals and API keys."""

from tallystick.identity.model import KeyInfo, NewKey, Principal
from tallystick.identity.service import authenticate, create_key, keys, revoke_key

__all__ = [
    "KeyInfo",
    "NewKey",
    "Principal",
    "authenticate",
    "create_key",
    "keys",
    "revoke_key",
]
