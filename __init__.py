"""Echotrain: a streaming MRI reconstruction server."""

__version__ = "0.1.0"
