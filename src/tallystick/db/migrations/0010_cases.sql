-- Cases: pieces of banking business with a lifecycle, that come in by two doors. A request carries JSON and is processed by its
-- agent; an event carries text and is moved along by whoever works on it.
create schema cases;

create table cases.case (
    id            bigint      generated always as identity primary key,
    door          text        not null,
    customer      text        not null,
    type          text        not null,
    payload       jsonb,
    payload_text  text,
    created_by    text        not null,
    created_at    timestamptz not null default clock_timestamp(),
    status        text        not null,
    changed_at    timestamptz not null default clock_timestamp(),
    result        jsonb,
    constraint door_is_known check (door in ('request', 'event')),
    constraint customer_is_bounded check (length(customer) between 1 and 100),
    constraint type_is_bounded check (length(type) between 1 and 100),
    constraint payload_fits_the_door check (case door when 'request' then payload is not null and payload_text is null
                                                 else payload_text is not null and payload is null end),
    constraint payload_is_an_object check (jsonb_typeof(payload) = 'object'),
    constraint status_fits_the_door check (case door
        when 'request' then status in ('received', 'processed')
        else status in ('queued', 'processing', 'approved', 'rejected', 'completed', 'failed') end),
    constraint processed_has_a_result check ((door = 'request' and status = 'processed') = (result is not null))
);
create index case_by_customer on cases.case (customer, id);
create index case_by_status on cases.case (status, id);
