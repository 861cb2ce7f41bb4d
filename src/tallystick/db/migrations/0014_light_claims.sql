-- A claim need not be on disk before its attempt begins: what a server that crashes forgets of it, another claim finds queued again.
-- But its fence must never be given out a second time. The row here is lost in a crash, as this table is not logged; who misses it
-- puts the fences past all that may have been given out before.
create unlogged table work.since_start (
    one  boolean primary key default true,
    constraint there_is_one check (one)
);
insert into work.since_start default values;
