"""`echotrain keys`: the keys of a server and of the clients that it lets in."""

from __future__ import annotations

import argparse
import sys

from echotrain.server.keys import KeyFolder


def run(options: argparse.Namespace) -> int:
    """Do what was asked; without an action, list. A secret key is never printed."""
    folder = KeyFolder(options.keys)
    {"list": _list, "new": _new, "revoke": _revoke}[options.action or "list"](folder, options)
    return 0


def _new(folder: KeyFolder, options: argparse.Namespace) -> None:
    if options.name:
        path = folder.make_client(options.name, replace=options.replace)
        print(f"{path}: take this file to {options.name} over a safe way, keep it secret, and delete it here")
    else:
        path = folder.make_server(replace=options.replace)
        print(f"{path}: start the server with --keys {folder.path}; `echotrain keys new NAME` makes a client's key")


def _list(folder: KeyFolder, _options: argparse.Namespace) -> None:
    clients, damaged = folder.clients()
    for public_key, name in clients.items():
        print(f"{name:16}  {public_key}")
    for words in damaged:
        print(f"nobody is let in by it: {words}", file=sys.stderr)


def _revoke(folder: KeyFolder, options: argparse.Namespace) -> None:
    folder.revoke(options.name)
    print(f"{options.name} is let in no longer; a server that runs knows within a second or two")
