-- db.clock: the time, as all work and all schedules know it. A test that needs another time replaces this one function, as the
-- owner. Its body is parsed here and now, so it needs no search_path of its own, and the planner puts it in place of its calls.
create or replace function db.clock() returns timestamptz
language sql volatile
return clock_timestamp();
