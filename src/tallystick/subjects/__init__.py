"""What is known of a customer: which of it is personal, how long it is kept, what holds it, and how it is erased."""

from tallystick.subjects.gated import EraseSubject, subject_of
from tallystick.subjects.model import KEPT, KINDS, PERSONAL, Erased, LegalHold, Personal, Retention
from tallystick.subjects.service import erase, holds, lift_hold, place_hold, rehearse, retention, set_retention

__all__ = [
    "KEPT",
    "KINDS",
    "PERSONAL",
    "EraseSubject",
    "Erased",
    "LegalHold",
    "Personal",
    "Retention",
    "erase",
    "holds",
    "lift_hold",
    "place_hold",
    "rehearse",
    "retention",
    "set_retention",
    "subject_of",
]
