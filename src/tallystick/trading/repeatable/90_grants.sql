-- Prices are loaded again when a better file comes.
grant usage on schema trading to tallystick_app, tallystick_auditor;
grant select on trading.price to tallystick_app, tallystick_auditor;
grant insert, update on trading.price to tallystick_app;
