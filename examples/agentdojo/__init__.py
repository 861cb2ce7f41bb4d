"""Recorded runs of agents under attack, replayed through the gate over HTTP. See README.md."""
