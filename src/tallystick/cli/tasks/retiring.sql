-- clock --
-- The time, as tasks know it.
select db.clock() as clock
