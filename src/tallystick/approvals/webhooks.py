"""Who is told of what becomes of questions: subscriptions, the notices that are tasks, and how these are signed."""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from tallystick import audit, work
from tallystick.approvals import store
from tallystick.approvals.settings import WebhookSettings
from tallystick.db import Queries, ReadTx, Tx
from tallystick.kit import Conflict, Invalid, NotFound, dumps

NOTIFIER = "notifier"
"""The agent of the house whose tasks are notices."""
NOTICE_TASK = "approval_notice"
NOTICE_ATTEMPTS = 12
EVENTS = (
    "asked", "amended", "voted", "commented", "approved", "rejected", "escalated", "expired", "withdrawn", "consumed",
    "glass_broken", "reviewed",
)  # fmt: skip
"""What a notice may tell of."""

MAX_WEBHOOKS = 20
_MAX_URL = 2000
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_BLOCK = 64
_SYSTEM = "tallystick"

_queries = Queries(__package__, "webhooks.sql")


@dataclass(frozen=True, slots=True)
class Webhook:
    """Somebody who is told of `events` (`*`: of all) at `url`. What signs is never read again."""

    id: int
    url: str
    events: list[str]
    created_by: str
    created_at: datetime
    removed_by: str | None
    removed_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A subscription that was just made. `secret` is shown once."""

    webhook: Webhook
    secret: str


@dataclass(frozen=True, slots=True)
class Signed:
    """Where a notice goes, when it was signed (seconds since 1970), and the signature over `at.body`."""

    url: str
    at: int
    signature: str


_ADD = _queries.bind("add_webhook", int)
_REMOVE = _queries.bind("remove_webhook", bool)
_WEBHOOK = _queries.bind("webhook", Webhook)
_WEBHOOKS = _queries.bind("webhooks", Webhook)
_SUBSCRIBERS = _queries.bind("subscribers", int)
_SIGN = _queries.bind("sign", Signed)


async def add_webhook(
    tx: Tx, url: str, events: Sequence[str], *, by: str, settings: WebhookSettings | None = None
) -> NewWebhook:
    """Tell somebody of `events` from now on; the secret is shown this once.

    Refuses with `Invalid` (`url_malformed`; `address_not_allowed` for an address that is not public, where no setting allows
    it; `unknown_event_kind`) and `Conflict` (`too_many_webhooks`).
    """
    check_url(url, settings or WebhookSettings())
    wanted = sorted(set(events))
    if not wanted or not set(wanted) <= {*EVENTS, "*"}:
        raise Invalid("unknown_event_kind", f"a notice tells of {', '.join(EVENTS)}, or * for all of them")
    secret = f"tsw_{secrets.token_urlsafe(32)}"
    key = secret.encode().ljust(_BLOCK, b"\0")
    inner, outer = bytes(byte ^ 0x36 for byte in key), bytes(byte ^ 0x5C for byte in key)
    made: int | None = await tx.one(
        _ADD, {"url": url, "events": wanted, "inner": inner, "outer": outer, "by": by, "most": MAX_WEBHOOKS}
    )
    if made is None:
        raise Conflict("too_many_webhooks", f"{MAX_WEBHOOKS} are told at most; remove one first")
    await audit.append(
        tx, principal=by, verb="webhooks.add", subject_kind="webhook", subject_id=made,
        detail={"events": wanted, "host": urlsplit(url).hostname},
    )  # fmt: skip
    return NewWebhook(await webhook(tx, made), secret)


async def remove_webhook(tx: Tx, webhook_id: int, *, by: str) -> Webhook:
    """Tell somebody no more, and forget what signed; notices that are on their way are dropped.

    Refuses with `NotFound` (`unknown_webhook`).
    """
    if not await tx.single(_REMOVE, {"id": webhook_id, "by": by}):
        raise NotFound("unknown_webhook", "nobody is told under this number")
    await audit.append(tx, principal=by, verb="webhooks.remove", subject_kind="webhook", subject_id=webhook_id)
    return await webhook(tx, webhook_id)


async def webhook(tx: ReadTx, webhook_id: int) -> Webhook:
    """A subscription, removed or not; refuses with `NotFound` (`unknown_webhook`)."""
    found = await tx.one(_WEBHOOK, {"id": webhook_id})
    if found is None:
        raise NotFound("unknown_webhook", "nobody is told under this number")
    return found


async def webhooks(tx: ReadTx) -> list[Webhook]:
    """Who is told, oldest first."""
    return await tx.all(_WEBHOOKS)


async def tell(tx: Tx, event: str, approval_id: int) -> None:
    """Store a notice for each subscriber, in the transaction of what it tells of. It names things and says nothing of them."""
    subscribers = await tx.all(_SUBSCRIBERS, {"event": event})
    if not subscribers:
        return
    approval = await store.get(tx, approval_id)
    assert approval is not None
    about = {
        "event": f"approval.{event}",
        "at": approval.changed_at.isoformat(),
        "approval": {
            "id": str(approval.id),
            "action": approval.action,
            "action_id": None if approval.action_id is None else str(approval.action_id),
            "status": approval.status,
            "version": approval.version,
            "roles": approval.roles,
            "expires_at": approval.expires_at.isoformat(),
        },
    }
    await work.enqueue(
        tx,
        _SYSTEM,
        [
            work.NewTask(NOTIFIER, NOTICE_TASK, {"webhook": str(each), **about}, max_attempts=NOTICE_ATTEMPTS)
            for each in subscribers
        ],
    )


def notice(task: work.Claimed) -> tuple[int, bytes]:
    """Whom a task tells, and the body of its notice: the same bytes at each attempt, with a number to know it again by."""
    body = {name: value for name, value in task.payload.items() if name != "webhook"}
    return int(task.payload["webhook"]), dumps({"notice": str(task.task_id), **body})


async def sign(tx: Tx, webhook_id: int, body: bytes) -> Signed | None:
    """Where a notice goes, and its signature now; `None` where nobody is told there any more."""
    return await tx.one(_SIGN, {"id": webhook_id, "body": body})


def check_url(url: str, settings: WebhookSettings) -> None:
    """Refuse with `Invalid` what notices cannot be posted to (`url_malformed`, `address_not_allowed`).

    A name is not looked up here: what it stands for is checked at each delivery.
    """
    schemes = ("https", "http") if settings.plain_http else ("https",)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise Invalid("url_malformed", "this is no URL") from None
    if (
        len(url) > _MAX_URL
        or not all("!" <= character <= "~" for character in url)
        or parts.scheme not in schemes
        or not host
        or "\\" in url
        or parts.username is not None
        or parts.password is not None
        or parts.fragment
    ):
        raise Invalid("url_malformed", f"a URL of {' or '.join(schemes)}, of printable ASCII, without a user or a fragment")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if _NUMBER.fullmatch(host.rstrip(".").rsplit(".", 1)[-1]):
            # Some read it as an address all the same.
            raise Invalid("url_malformed", "an IPv4 address is four decimal numbers") from None
        return
    if not settings.allows(address):
        raise Invalid("address_not_allowed", "notices are sent to public addresses, and to those that a setting allows")
