"""Tallystick: the control plane and system of record for AI agents in banking."""

__version__ = "0.1.0"
