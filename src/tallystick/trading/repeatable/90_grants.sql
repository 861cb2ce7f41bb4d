-- Prices are loaded again when a better file comes. Orders, fills and positions come to be by the functions of this room alone.
revoke all on all functions in schema trading from public;
grant usage on schema trading to tallystick_app, tallystick_auditor;
grant select on all tables in schema trading to tallystick_app, tallystick_auditor;
grant insert, update on trading.price to tallystick_app;
grant insert on trading.portfolio to tallystick_app;
grant usage on sequence trading.trade_order_id_seq to tallystick_app;
grant execute on all functions in schema trading to tallystick_app;
