"""The garbage collector of a process that answers many requests."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_YOUNG = 20_000


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Within, the collector does not walk what stands already, and looks at what is new when there are 20,000 objects of it.

    Nearly all that a request makes is freed without the collector. At Python's own 700 it would look a hundred times a second
    on a busy server, for nothing: 3 to 5 % of the processor time.
    """
    gc.collect()
    gc.freeze()
    before = gc.get_threshold()
    gc.set_threshold(_YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
