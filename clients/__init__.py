"""The client library, feeds and outputs, and the command line."""
