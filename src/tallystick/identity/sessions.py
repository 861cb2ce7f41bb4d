"""People who sign in, and services that bring a token, by an account that they have elsewhere."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping

from tallystick import audit
from tallystick.db import ReadTx, Tx
from tallystick.identity import store
from tallystick.identity.keys import Recognized
from tallystick.identity.model import Login, NewSession, Principal, check_roles
from tallystick.identity.service import get
from tallystick.identity.store import Usage
from tallystick.kit import Conflict, Forbidden, NotFound, Unauthorized, check_text

_MAX_LOGINS = 20
_MAX_SESSIONS = 20


async def add_login(tx: Tx, name: str, *, issuer: str, subject: str, by: str) -> Login:
    """Let a principal be known by an account elsewhere; one that is bound to it stays so.

    Refuses with `NotFound` (`unknown_principal`), `Invalid` (`text_too_long`, `text_malformed`), `Forbidden` (`own_authority`)
    and `Conflict` (`login_exists`: it is somebody else's; `too_many_logins`).
    """
    check_text(issuer, "an issuer", 500)
    check_text(subject, "a subject", 255)
    if name == by:
        raise Forbidden("own_authority", "nobody changes their own authority")
    found = await get(tx, name)
    bound = await store.logins(tx, name, limit=_MAX_LOGINS)
    same = next((login for login in bound if (login.issuer, login.subject) == (issuer, subject)), None)
    if same is not None:
        return same
    if len(bound) >= _MAX_LOGINS:
        raise Conflict("too_many_logins", f"{name} is known by {_MAX_LOGINS} accounts elsewhere")
    made = await store.add_login(tx, found.id, issuer=issuer, subject=subject)
    if made is None:
        raise Conflict("login_exists", "another principal is known by this account")
    # The subject may be an address of a person, and stays in its table.
    detail = {"name": name, "issuer": issuer, "login": str(made)}
    await audit.append(
        tx, principal=by, verb="principals.add_login", subject_kind="principal", subject_id=found.id, detail=detail
    )
    return next(login for login in await store.logins(tx, name, limit=_MAX_LOGINS + 1) if login.id == made)


async def remove_login(tx: Tx, name: str, login_id: int, *, by: str) -> None:
    """Let a principal be known by an account no more, and sign it out everywhere.

    Refuses with `NotFound` (`unknown_principal`, `unknown_login`).
    """
    found = await get(tx, name)
    if not await store.remove_login(tx, principal_id=found.id, id=login_id):
        raise NotFound("unknown_login", f"{name} has no login {login_id}")
    await store.end_sessions(tx, found.id)
    detail = {"name": name, "login": str(login_id)}
    await audit.append(
        tx, principal=by, verb="principals.remove_login", subject_kind="principal", subject_id=found.id, detail=detail
    )


async def logins(tx: ReadTx, name: str) -> list[Login]:
    """By which accounts elsewhere a principal is known. Refuses with `NotFound` (`unknown_principal`)."""
    await get(tx, name)
    return await store.logins(tx, name, limit=_MAX_LOGINS)


async def principal_of_login(tx: ReadTx, *, issuer: str, subject: str) -> Principal | None:
    """Whose account elsewhere it is; `None` where nobody's who may act."""
    known = await store.principal_of_login(tx, issuer=issuer, subject=subject)
    return None if known is None else known.principal()


async def open_session(
    tx: Tx, *, issuer: str, subject: str, lasts_s: float, scopes: Collection[str] | None = None
) -> NewSession:
    """Sign a person in, with all their roles or those among `scopes`. Of a person's sessions the newest 20 are kept.

    Refuses with `Unauthorized` (`login_unknown`) who is no person that may act.
    """
    known = await store.principal_of_login(tx, issuer=issuer, subject=subject)
    if known is None or known.kind != "person":
        raise Unauthorized("login_unknown", "no person here is known by this account; an admin can bind it")
    found = await get(tx, known.name)
    narrowed = None if scopes is None else check_roles(scopes)
    await store.forget_sessions(tx, found.id, keep=_MAX_SESSIONS - 1)
    secret = secrets.token_urlsafe(32)
    session_id = await store.add_session(tx, found.id, hash=_hash(secret), scopes=narrowed, lasts_s=lasts_s)
    detail = {"issuer": issuer, "login": str(known.credential_id), "lasts_s": round(lasts_s)}
    if narrowed is not None:
        detail["scopes"] = " ".join(narrowed)
    await audit.append(
        tx, principal=known.name, verb="sign_in.open", subject_kind="session", subject_id=session_id, detail=detail
    )
    return NewSession(session_id, known.name, secret)


async def recognize_session(tx: ReadTx, secret: str) -> Recognized | None:
    """Who is signed in with this cookie, and by which session; `None` where nobody is any more."""
    known = await store.principal_of_session(tx, _hash(secret))
    if known is None or known.credential_id is None:
        return None
    return Recognized(known.credential_id, known.principal())


async def end_session(tx: Tx, secret: str) -> bool:
    """Sign out; whether anybody was signed in."""
    ended = await store.end_session(tx, _hash(secret))
    if ended is not None:
        await audit.append(tx, principal=ended.principal, verb="sign_in.end", subject_kind="session", subject_id=ended.id)
    return ended is not None


async def count_requests(tx: Tx, requests: Mapping[str, int]) -> list[Usage]:
    """Add requests to what principals made today (UTC); what each has made by now. It is no event, and kept for a month."""
    if not requests:
        return []
    await store.forget_usage(tx)
    return await store.count_requests(tx, requests)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
