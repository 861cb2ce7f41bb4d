"""The bank's day: business-day calendars, end of day, closing balances as facts, closed periods."""
