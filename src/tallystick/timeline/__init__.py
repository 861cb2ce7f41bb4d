"""What became of one thing, in the order of the record: every prompt, step, decision, vote, posting and event of it."""

from tallystick.timeline.json_form import entry_json
from tallystick.timeline.model import KINDS, Entry, Kind, Mark, Timeline
from tallystick.timeline.service import page

__all__ = ["KINDS", "Entry", "Kind", "Mark", "Timeline", "entry_json", "page"]
