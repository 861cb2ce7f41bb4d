"""A server as it is when it has been in use for a while."""

from __future__ import annotations

import psycopg

from tallystick.db import EmbeddedServer

_LOG_FILES = 48


def settle(server: EmbeddedServer) -> None:
    """Have the log files of an hour's work be there.

    A new server makes one for each 16 MB that it writes, for which a commit waits about 40 ms; one that has been in use takes
    the old ones again.
    """
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("alter system set min_wal_size = '1GB'")
        connection.execute("select pg_reload_conf()")
        for _ in range(_LOG_FILES):
            connection.execute("select pg_logical_emit_message(false, 'bench', 'a file of the log')")
            connection.execute("select pg_switch_wal()")
        connection.execute("checkpoint")
