"""Kinds of journals and holds that belong to a room above: from outside nobody makes one of such a kind."""

from __future__ import annotations

from tallystick.kit import Invalid

_reversible: dict[str, bool] = {}


def keep_kind(name: str, *, reversible: bool = False) -> None:
    """Say, when a room is imported, that journals and holds of this kind are its own; a name that ends in `_` begins many.

    From outside nobody posts or places them, nor captures or releases such a hold (`reserved_kind`). Unless they are
    `reversible`, `reverse` does not take such journals back either (`not_reversible`): the room keeps a state by them, which
    would go on saying that the money is where they brought it.
    """
    _reversible[name] = reversible


def is_kept(kind: str) -> bool:
    """Whether a journal of this kind is taken back by its room alone."""
    name = _name_of(kind)
    return name is not None and not _reversible[name]


def check_free(kind: str) -> None:
    """Refuse with `Invalid` (`reserved_kind`) a kind that belongs to a room."""
    if _name_of(kind) is not None:
        raise Invalid("reserved_kind", f"the bank itself keeps what is of the kind {kind}")


def _name_of(kind: str) -> str | None:
    for name in _reversible:
        if kind == name or (name.endswith("_") and kind.startswith(name)):
            return name
    return None
