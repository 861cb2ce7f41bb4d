"""A database's schema as text, from the catalogs: two databases with equal text have equal schemas."""

from __future__ import annotations

import psycopg

_OURS = "n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"

_PARTS = {
    "schema": f"select n.nspname, pg_get_userbyid(n.nspowner), n.nspacl::text from pg_namespace n where {_OURS}",
    "relation": f"""
        select n.nspname, c.relname, c.relkind::text, pg_get_userbyid(c.relowner), c.relacl::text, c.reloptions::text,
               pg_get_viewdef(c.oid), obj_description(c.oid, 'pg_class')
          from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where {_OURS} and c.relkind in ('r', 'v', 'S', 'p')""",
    "column": f"""
        select n.nspname, c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               a.attidentity::text, pg_get_expr(d.adbin, d.adrelid), a.attacl::text, col_description(c.oid, a.attnum)
          from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
          left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
         where {_OURS} and c.relkind in ('r', 'v', 'p') and a.attnum > 0 and not a.attisdropped""",
    "constraint": f"""
        select n.nspname, conrelid::regclass::text, conname, pg_get_constraintdef(k.oid), convalidated
          from pg_constraint k join pg_namespace n on n.oid = k.connamespace where {_OURS} and contype <> 'n'""",
    "index": "select schemaname, tablename, indexname, indexdef from pg_indexes where schemaname !~ '^pg_'",
    "trigger": f"""
        select n.nspname, c.relname, tgname, pg_get_triggerdef(t.oid), tgenabled::text
          from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
         where {_OURS} and not tgisinternal""",
    "function": f"""
        select n.nspname, p.proname, pg_get_function_identity_arguments(p.oid), pg_get_userbyid(p.proowner),
               -- Who may call it: in which order they were allowed to means nothing.
               (select string_agg(a::text, ',' order by a::text) from unnest(p.proacl) a),
               md5(pg_get_functiondef(p.oid)), obj_description(p.oid, 'pg_proc')
          from pg_proc p join pg_namespace n on n.oid = p.pronamespace where {_OURS}""",
    "row of settings": "select 'asset', code, kind, scale from ledger.asset",
}


def describe(url: str) -> str:
    """Everything our migrations make, one line a thing, in order."""
    lines = []
    with psycopg.connect(url) as connection:
        for part, query in _PARTS.items():
            lines += [f"{part}: {row}" for row in connection.execute(query.encode())]
    return "\n".join(sorted(lines))
