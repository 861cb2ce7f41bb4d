"""The database: pool and transactions, named SQL, idempotency claims, errors, migrations, the embedded server."""

from tallystick.db.arrays import bigints, byteas, integers, sparse, texts
from tallystick.db.bell import Bell, Post, listen, listen_privately, ring
from tallystick.db.claims import Claimed, Key, claim, claim_one, claimed, key_reused
from tallystick.db.embedded import EmbeddedServer
from tallystick.db.pool import Connected, Database, PoolUse, ReadTx, Tx
from tallystick.db.queries import Queries, Query
from tallystick.db.revisions import Migrated, check_revision, head_revision, migrate, schema_revision
from tallystick.db.roles import OWNER, SEALER
from tallystick.db.settings import DatabaseSettings
from tallystick.db.told import MAX_TOLD, Told, hear_of_events, listener, pass_on

__all__ = [
    "MAX_TOLD",
    "OWNER",
    "SEALER",
    "Bell",
    "Claimed",
    "Connected",
    "Database",
    "DatabaseSettings",
    "EmbeddedServer",
    "Key",
    "Migrated",
    "PoolUse",
    "Post",
    "Queries",
    "Query",
    "ReadTx",
    "Told",
    "Tx",
    "bigints",
    "byteas",
    "check_revision",
    "claim",
    "claim_one",
    "claimed",
    "head_revision",
    "hear_of_events",
    "integers",
    "key_reused",
    "listen",
    "listen_privately",
    "listener",
    "migrate",
    "pass_on",
    "ring",
    "schema_revision",
    "sparse",
    "texts",
]
