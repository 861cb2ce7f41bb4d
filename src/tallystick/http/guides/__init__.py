"""The five guides, each at its own paths: thin translations to the rooms, with no table of their own."""
