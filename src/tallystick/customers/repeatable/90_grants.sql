-- Customers and who may use which account.
grant usage on schema customers to tallystick_app, tallystick_auditor;
grant select on all tables in schema customers to tallystick_app, tallystick_auditor;
grant insert on all tables in schema customers to tallystick_app;
grant update (full_name, birth_date, sex, region, street, city) on customers.customer to tallystick_app;
grant update (salt, hash, set_by, set_at) on customers.credential to tallystick_app;
