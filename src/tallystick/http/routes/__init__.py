"""The native API, `/v1`: one file of routes for each room."""
