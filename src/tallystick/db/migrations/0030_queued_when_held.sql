-- A transfer that was to be queued and that policy held is posted by the last vote: there is no task that settles it.
alter table actions.transfer
    drop constraint queued_has_a_task,
    add constraint queued_has_a_task check (status <> 'queued' or task_id is not null);
