-- work.drop_history: give up the facts of the oldest range of task ids that is kept, in all four tables or in none; the verdict:
--   dropped       done;
--   unknown       no such range begins there, or it was dropped before;
--   out_of_order  an older range is kept;
--   not_ended     not all its ids were given out, or a task of it has not ended;
--   too_recent    a task of it ended at p_ended_before or later;
--   changed       it does not hold what p_exported says was written of it.
--
-- It is counted under a lock of its own partitions, which nobody writes to any more. Only to take them out are all tables locked, so
-- a caller sets a short lock timeout and tries again.
create or replace function work.drop_history(p_from bigint, p_ended_before timestamptz, p_exported jsonb) returns text
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_to     bigint;
    v_parent text;
    v_part   text := '_' || lpad((p_from / 1000000)::text, 6, '0');
    v_count  bigint;
    v_counts jsonb := '{}';
    v_ended  timestamptz;
begin
    perform pg_advisory_xact_lock(7331020);
    select h.to_id into v_to from work.history h where h.from_id = p_from and h.dropped_at is null;
    if not found then
        return 'unknown';
    end if;
    if exists (select from work.history h where h.from_id < p_from and h.dropped_at is null) then
        return 'out_of_order';
    end if;
    if coalesce(pg_sequence_last_value('work.task_id'), 0) < v_to - 1 or work.is_open(p_from, v_to) then
        return 'not_ended';
    end if;
    -- A call that drew an id long ago and stores its task only now is waited for.
    execute format('lock table work.%I, work.%I, work.%I, work.%I in share row exclusive mode',
                   'task' || v_part, 'outcome' || v_part, 'attempt' || v_part, 'step' || v_part);
    foreach v_parent in array array['task', 'outcome', 'attempt', 'step'] loop
        execute format('select count(*) from work.%I', v_parent || v_part) into v_count;
        v_counts := v_counts || jsonb_build_object(v_parent || 's', v_count);
    end loop;
    execute format('select max(o.finished_at) from work.%I o', 'outcome' || v_part) into v_ended;
    if work.is_open(p_from, v_to) or v_counts -> 'tasks' <> v_counts -> 'outcomes' then
        return 'not_ended';
    end if;
    if v_ended >= p_ended_before then
        return 'too_recent';
    end if;
    if not p_exported @> (v_counts || jsonb_build_object('from_id', p_from, 'to_id', v_to)) then
        return 'changed';
    end if;
    lock table work.task, work.outcome, work.attempt, work.step in access exclusive mode;
    execute format('drop table work.%I, work.%I, work.%I, work.%I',
                   'task' || v_part, 'outcome' || v_part, 'attempt' || v_part, 'step' || v_part);
    update work.history h set dropped_at = db.clock(), exported = p_exported where h.from_id = p_from;
    return 'dropped';
end
$$;

-- work.is_open: whether a task of a range of ids has not ended.
create or replace function work.is_open(p_from bigint, p_to bigint) returns boolean
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select exists (select from work.ready r where r.task_id >= p_from and r.task_id < p_to)
        or exists (select from work.wait w where w.task_id >= p_from and w.task_id < p_to)
        or exists (select from work.run r where r.task_id >= p_from and r.task_id < p_to)
        or exists (select from work.dead d where d.task_id >= p_from and d.task_id < p_to);
$$;
