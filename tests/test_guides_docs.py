"""The programs on the page about the guides run as they are printed."""

from __future__ import annotations

import re
import textwrap

from tallystick.client import Client
from tests.conftest import ROOT, TestDatabase
from tests.serving import live

_PRINTED_ADDRESS = "http://localhost:8000"


def _programs() -> list[str]:
    page = (ROOT / "docs/guides.md").read_text("utf-8")
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", page, re.MULTILINE)
    return [textwrap.dedent(block).strip() for block in blocks if "import" in block]


def test_the_programs_that_use_the_client_run_as_printed(database: TestDatabase) -> None:
    first, second = _programs()
    with live(database.app_url) as base, Client(base) as client:
        exec(first.replace(_PRINTED_ADDRESS, base), {"print": lambda *_: None})
        assert [task.type for task in client.fetch_pending_tasks()] == ["kyc_review"]
        good = client.create_agent_task("t", {"symbol": "AAPL"}, agent="my-agent")
        bad = client.create_agent_task("t", {}, agent="my-agent")
        for _ in range(2):
            exec(second.replace(_PRINTED_ADDRESS, base), {"process_task": lambda payload: {"seen": payload["symbol"]}})
        assert (client.task(good.id).status, client.task(good.id).result) == ("done", {"seen": "AAPL"})
        assert (client.task(bad.id).status, client.task(bad.id).error) == ("failed", "the payload has no 'symbol'")
