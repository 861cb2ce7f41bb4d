"""The HTTP surface: the native API under `/v1`, the five guides at their own paths, health and documentation."""

from tallystick.http.app import create_app, stop_waiting
from tallystick.http.bodies import JournalBody
from tallystick.http.reserved import check_not_reserved
from tallystick.http.settings import HttpSettings
from tallystick.http.voting import vote

__all__ = ["HttpSettings", "JournalBody", "check_not_reserved", "create_app", "stop_waiting", "vote"]
