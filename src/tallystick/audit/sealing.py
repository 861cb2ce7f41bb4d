"""Sealing: events become leaves of the tree, in an order that follows their commits, and its root is signed.

Any number of sealers may run; an advisory lock lets one of them work at a time. An event that is seen is put behind all that
were committed before it began: those are seen too, and have lower ids. One that commits late is seen later, and comes later.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Sequence

from tallystick import tlog
from tallystick.audit import proving, store
from tallystick.audit.model import Origin, PendingEvent
from tallystick.audit.service import append
from tallystick.db import Database, ReadTx, Tx
from tallystick.kit import Conflict, Unavailable, wait_for

_log = logging.getLogger(__name__)
_BATCH = 5000
_AGAIN_S = 60.0


class Sealer:
    """Seals what is committed, every `every_s`, and signs each size it leaves with the keys in `keys`.

    `database` has the sealer's role. The first sealer of a database opens its origin and makes the key. Where the origin's key
    is not in this folder, it leaves sealing to others and says so. Whoever seals: while an event waits for more than
    `max_lag_s`, that is logged once a minute.
    """

    def __init__(
        self, database: Database, keys: tlog.KeyFolder, *, every_s: float = 0.2, batch: int = _BATCH, max_lag_s: float = 30.0
    ) -> None:
        self._database = database
        self._keys = keys
        self._every_s = every_s
        self._batch = batch
        self._max_lag_s = max_lag_s
        self._is_behind = False
        self._has_signed = False
        self._told: dict[str, float] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Seal until `stop` is set. A lost database is waited for; what only people can mend is logged once a minute."""
        while not stop.is_set():
            try:
                while await self.seal() >= self._batch and not stop.is_set():
                    pass
                await self._mind_the_lag()
            except (Unavailable, Conflict) as error:
                self._tell(error.code, f"the record is not sealed: {error}")
            except tlog.NoteError as error:
                self._tell(error.code, f"the record is not sealed: {error}")
            except OSError as error:
                self._tell("keys", f"the record is not sealed, as its keys cannot be read or written: {error}")
            except Exception:  # noqa: BLE001 - the record is sealed again after whatever it was
                _log.exception("the record could not be sealed")
            await wait_for(stop, self._every_s)

    async def seal(self) -> int:
        """Put what is committed into the tree, at most a batch of it, and sign the tree; how many events that were.

        0 where another sealer is at work. Refuses with `Conflict`: `record_forked` where the tree is not the one that was
        signed last, `no_signing_key` where the origin's key is not here.
        """
        origin = await self._origin()
        if origin is None:
            return 0
        async with self._database.write() as tx:
            if not await store.sealers_turn(tx):
                return 0
            events = await store.pending(tx, limit=self._batch)
            if not events and self._has_signed:
                return 0
            await self._check(tx, origin)
            if events:
                await self._grow(tx, events)
        await self._sign(origin)
        self._has_signed = True
        return len(events)

    async def reopen(self, principal: str) -> Origin:
        """Open a new origin, which commits to the last published checkpoint of the one before; an event tells of it.

        For a database that was restored to an earlier state, so that its tree is not the one whose checkpoints are published.
        """
        last = self._keys.last_checkpoint()
        async with self._database.write() as tx:
            if not await store.sealers_turn(tx):
                raise Conflict("sealing", "another process seals at this moment; try again")
            before = await store.origin(tx)
            if before is None:
                raise Conflict("no_origin", "nothing was ever sealed here, so there is no origin to follow")
            name = f"{before.name.split('/')[0]}/{secrets.token_hex(8)}"
            self._keys.ensure(name)
            await store.open_origin(tx, n=before.n + 1, name=name, follows=None if last is None else str(last))
            detail = {"origin": name, "before": before.name, "follows": None if last is None else last.text}
            await append(
                tx, principal=principal, verb="record.reopen", subject_kind="origin", subject_id=before.n + 1, detail=detail
            )
            opened = await store.origin(tx)
            assert opened is not None
            return opened

    async def _origin(self) -> Origin | None:
        async with self._database.read() as tx:
            found = await store.origin(tx)
        if found is not None:
            return found
        name = f"tallystick/{secrets.token_hex(8)}"
        async with self._database.write() as tx:
            if not await store.sealers_turn(tx) or await store.origin(tx) is not None:
                return None
            if (last := self._keys.last_checkpoint()) is not None:
                raise _forked(f"{last.text.splitlines()[0]} was signed from here, and this database knows no origin")
            self._keys.ensure(name)
            await store.open_origin(tx, n=1, name=name, follows=None)
            return await store.origin(tx)

    async def _check(self, tx: ReadTx, origin: Origin) -> None:
        """Whether the tree is still the one that was signed last from here."""
        note = self._keys.last_checkpoint()
        if note is None:
            return
        last = tlog.open_checkpoint(note, self._keys.public())
        if last.origin != origin.name:
            if note.text == _text_of(origin.follows):
                return
            raise _forked(f"the last checkpoint signed from here is of {last.origin}, and the database is at {origin.name}")
        size = await store.size(tx)
        if size < last.size:
            raise _forked(f"the tree has {size} leaves, and {last.size} were signed")
        kept = await store.checkpoint_at(tx, last.size)
        root = kept.root if kept is not None else await proving.root_at(tx, last.size)
        if root != last.root:
            raise _forked(f"the tree of {last.size} leaves has another root than the one that was signed")

    async def _grow(self, tx: Tx, events: Sequence[PendingEvent]) -> None:
        size = await store.size(tx)
        hashes = tlog.leaf_hashes(event.leaf.encode() for event in events)
        nodes = tlog.grown(size, hashes, await proving.reader(tx, tlog.edge_tiles(size)))
        await store.add_leaves(tx, size=size, event_ids=[event.event_id for event in events], hashes=hashes, nodes=nodes)

    async def _sign(self, origin: Origin) -> None:
        """Sign the size that is committed, once."""
        async with self._database.write() as tx:
            if not await store.sealers_turn(tx):
                return
            size = await store.size(tx)
            if size == 0:
                return
            if await store.checkpoint_at(tx, size) is not None:
                return
            signers = self._keys.signers(origin.name)
            if not signers:
                raise Conflict("no_signing_key", f"the key of {origin.name} is not in {self._keys.path}")
            checkpoint = tlog.Checkpoint(origin.name, size, await proving.root_at(tx, size))
            note = tlog.sign_checkpoint(checkpoint, signers)
            await store.keep_checkpoint(tx, size=size, origin=origin.n, root=checkpoint.root, note=str(note))
        # What is published is committed. Where this is lost, the next size makes up for it.
        self._keys.keep_checkpoint(note)

    async def _mind_the_lag(self) -> None:
        async with self._database.read() as tx:
            lag = await proving.lag(tx)
        if lag.oldest_s is not None and lag.oldest_s > self._max_lag_s:
            self._is_behind = True
            self._tell("lag", f"sealing is {lag.oldest_s:.0f} s behind, {lag.pending} events wait")
        elif self._is_behind:
            self._is_behind = False
            self._told.pop("lag", None)
            _log.warning("sealing has caught up")

    def _tell(self, what: str, message: str) -> None:
        now = time.monotonic()
        if now - self._told.get(what, -_AGAIN_S) >= _AGAIN_S:
            self._told[what] = now
            _log.error("%s", message)


def _forked(why: str) -> Conflict:
    return Conflict("record_forked", f"{why}; if it was restored, open a new origin: tallystick record reopen")


def _text_of(note: str | None) -> str | None:
    return None if note is None else tlog.Note.parse(note).text
