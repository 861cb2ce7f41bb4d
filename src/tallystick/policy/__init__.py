"""The rules of the bank as data, and what they say of an action."""
