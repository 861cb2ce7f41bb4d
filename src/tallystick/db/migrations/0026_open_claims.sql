-- Workers that wait for tasks. A claim that found less than it asked for stands open for the rest: whoever stores a task that could be
-- claimed at once may hand it to such a worker. `up_to` tasks in all may be handed over by way of a lane, and `given` were; a worker
-- has several lanes, as each is used by one transaction at a time. `channel` is where the worker listens, under a name that only the
-- tables tell. Not logged: a server that crashes has no listeners either.
create unlogged table work.open_claim (
    worker_id  bigint     not null,
    lane       smallint   not null,
    channel    text       not null,
    queues     integer[]  not null,
    given      bigint     not null,
    up_to      bigint     not null,
    primary key (worker_id, lane)
) with (fillfactor = 40);

-- What was handed over has a short lease of its own, beside that of its worker, until the worker has taken it up.
alter table work.run drop constraint a_run_has_a_lease;
alter table work.run add constraint a_run_has_a_lease check (worker_id is not null or lease_until is not null);
