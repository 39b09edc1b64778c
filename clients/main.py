"""The command line: `echotrain COMMAND ...`.

Exit status: 0 all went well, 2 a usage error, 1 any other failure, with one line on standard error.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from echotrain import __version__
from echotrain.mrd.errors import EchotrainError
from echotrain.server.folder import default_sessions_folder
from echotrain.server.keys import default_keys_folder
from echotrain.server.settings import DEFAULT_MRD_ADDRESS, Settings
from echotrain.server.wire import DEFAULT_ADDRESS

from . import serve_options
from .pace import parse_speed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status."""
    options = _parser().parse_args(arguments)
    command = importlib.import_module(f"{__package__}.commands.{options.command}")
    try:
        status: int = command.run(options)
        sys.stdout.flush()
    except EchotrainError as error:
        if options.verbose and error.detail:
            print(error.detail, file=sys.stderr)
        notes = "; ".join(getattr(error, "__notes__", []))
        words = " ".join(str(error).split())
        print(f"echotrain {options.command}: {words}{'; ' + notes if notes else ''}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # before OSError, which it is
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output has left
        return 1
    except KeyboardInterrupt:
        print(f"echotrain {options.command}: interrupted", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"echotrain {options.command}: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        if options.verbose:
            traceback.print_exc()
        words = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"echotrain {options.command}: {words}; please report this, with what --verbose adds", file=sys.stderr)
        return 1
    return status


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or "." not in key:
        raise argparse.ArgumentTypeError(f"{text!r} is not Gadget.parameter=value")
    return key, value


def _speed(text: str) -> float:
    try:
        return parse_speed(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not max, realtime, or a factor above 0") from None


def _at_least_0(kind: type[int] | type[float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = kind(text)
        if not 0 <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
        return value

    return read


def _durability(text: str) -> float | None:
    """The time between syncs [s], or None for the page cache."""
    mode, _, milliseconds = text.partition(":")
    if text == "page-cache":
        return None
    try:
        if mode != "fsync":
            raise ValueError
        return _at_least_0(float)(milliseconds or "100") / 1e3
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not page-cache, fsync, or fsync:MILLISECONDS") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="echotrain", description="Streaming MRI reconstruction.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-v", "--verbose", action="store_true", help="print the details of errors")

    places = argparse.ArgumentParser(add_help=False)
    places.add_argument("--gadgets", type=Path, action="append", default=[], metavar="DIR", help="folder of gadgets")
    places.add_argument("--configs", type=Path, action="append", default=[], metavar="DIR", help="folder of chains")
    places.add_argument("--allow", action="append", default=[], metavar="PACKAGE", help="package that chains may name")

    sessions = argparse.ArgumentParser(add_help=False)
    sessions.add_argument("--sessions", type=Path, default=default_sessions_folder(), metavar="DIR")

    chain = argparse.ArgumentParser(add_help=False)
    chain.add_argument("--config", required=True, metavar="NAME|FILE", help="a configuration's name, or an XML file")
    _add_settings(chain)

    source = argparse.ArgumentParser(add_help=False)
    source.add_argument("input", type=Path, metavar="INPUT.h5")
    source.add_argument("--group", default="dataset", help="group of the file that holds the scan")
    source.add_argument("--output", type=Path, required=True, metavar="OUT.h5", help="images go here; replaced")

    serve = commands.add_parser("serve", parents=[common, places, sessions], help="run the server")
    serve.add_argument("--bind", default=DEFAULT_ADDRESS, help="address of the native protocol (default %(default)s)")
    serve.add_argument(
        "--mrd",
        default=DEFAULT_MRD_ADDRESS,
        metavar="HOST:PORT|off",
        help="address of the MRD protocol, as Gadgetron and FIRE clients speak it (default %(default)s)",
    )
    serve.add_argument(
        "--mrd-allow",
        action="append",
        default=[],
        metavar="ADDRESS[/BITS]",
        help="may come in at --mrd; anybody who reaches it if none is given",
    )
    serve.add_argument("--keys", type=Path, metavar="DIR", help="folder of keys; only clients with one may come in")
    serve.add_argument("--insecure", action="store_true", help="let anybody in, from other machines as well")
    for limit, default, words in (
        ("sessions-per-client", Settings.sessions_per_client, "sessions that run at once"),
        ("opens-per-minute", Settings.opens_per_minute, "sessions that one client opens in a minute"),
        ("session-bytes", Settings.session_bytes, "input of one session"),
    ):
        words = f"{words}; 0 for no limit (default %(default)s)"
        serve.add_argument(f"--{limit}", type=_at_least_0(int), default=default, metavar="N", help=words)
    serve.add_argument(
        "--openrecon", metavar="NAME|FILE", help="chain for clients that name the configuration openrecon"
    )
    serve.add_argument(
        "--idle",
        type=_at_least_0(float),
        default=1800.0,
        metavar="SECONDS",
        help="a client may send nothing in the midst of a scan; 0 for ever (default %(default)g)",
    )
    serve.add_argument("--warm", type=_at_least_0(int), default=1, metavar="N", help="workers that stand ready")
    serve.add_argument(
        "--durability",
        type=_durability,
        metavar="page-cache|fsync[:MILLISECONDS]",
        help="what is acknowledged survives the end of the server, or of the machine (default page-cache)",
    )
    serve.add_argument(
        "--reserve",
        type=_at_least_0(float),
        metavar="MB",
        help="room on the disk that scans leave (default 268, or 1 %% of the disk if that is less)",
    )
    serve.add_argument(
        "--patience", type=_at_least_0(float), default=60.0, metavar="SECONDS", help="for a client that has gone"
    )
    serve.add_argument(
        "--stuck",
        type=_at_least_0(float),
        default=Settings.stuck,
        metavar="SECONDS",
        help="a gadget may take without giving or taking anything; 0 for ever (default %(default)g)",
    )
    serve.add_argument(
        "--memory",
        type=_at_least_0(float),
        metavar="GB",
        help="for each session's processes; 0 for no bound (default three quarters of the machine's)",
    )
    serve.add_argument(
        "--retries",
        type=_at_least_0(int),
        default=Settings.retries,
        metavar="N",
        help="of a session whose worker died, hung, or took too much memory (default %(default)s)",
    )
    serve.add_argument("--fallback", metavar="NAME|FILE", help="chain that runs where a session's own has failed")
    serve.add_argument(
        "--grace", type=_at_least_0(float), default=10.0, metavar="SECONDS", help="to finish, when told to stop"
    )

    serve_options.add_options(serve)

    replay = commands.add_parser("replay", parents=[common, source, chain], help="play a recording into a server")
    replay.add_argument("--server", default=DEFAULT_ADDRESS, help="address of the server (default %(default)s)")
    replay.add_argument("--keys", default="", metavar="FILE", help="this client's keys, where the server wants them")
    replay.add_argument("--speed", type=_speed, default=0.0, metavar="max|realtime|FACTOR")
    replay.add_argument(
        "--lines", type=_at_least_0(int), default=0, metavar="N", help="lines a message at most; 0 as they are read"
    )
    replay.add_argument(
        "--reconnect", type=_at_least_0(float), default=60.0, metavar="SECONDS", help="wait for a server that was lost"
    )

    commands.add_parser("recon", parents=[common, source, chain, places], help="reconstruct a file without a server")

    commands.add_parser("pipe", parents=[common, chain, places], help="a stream from standard input to standard output")

    simulate = commands.add_parser("simulate", parents=[common], help="make a scan of a phantom")
    importlib.import_module(f"{__package__}.commands.simulate").add_options(simulate)

    train = commands.add_parser("train", parents=[common], help="train a network for reconstruction")
    importlib.import_module(f"{__package__}.commands.train").add_options(train)

    configs = commands.add_parser("configs", parents=[common, places], help="list configurations, or show one")
    configs.add_argument("name", nargs="?")
    gadgets = commands.add_parser("gadgets", parents=[common, places], help="list gadgets, or show one's parameters")
    gadgets.add_argument("name", nargs="?")
    check = commands.add_parser("check", parents=[common, places], help="check a chain and show every parameter")
    check.add_argument("config", metavar="NAME|FILE")
    _add_settings(check)

    keys = argparse.ArgumentParser(add_help=False)
    keys.add_argument("--keys", type=Path, default=argparse.SUPPRESS, metavar="DIR", help="folder of keys")
    access = commands.add_parser("keys", parents=[common], help="make, list or revoke the keys of clients")
    access.set_defaults(keys=default_keys_folder())
    deeds = access.add_subparsers(dest="action", metavar="new|list|revoke")
    new = deeds.add_parser("new", parents=[common, keys], help="the server's keys, or those of a client")
    new.add_argument("name", nargs="?", metavar="NAME", help="of a client; the server's own keys without it")
    new.add_argument("--replace", action="store_true", help="put another key in the place of the one that is there")
    deeds.add_parser("list", parents=[common, keys], help="the clients that are let in, with their public keys")
    deeds.add_parser("revoke", parents=[common, keys], help="let a client in no longer").add_argument("name")

    convert = commands.add_parser("convert", parents=[common], help="turn vendor data into ISMRMRD")
    convert.add_argument("input", type=Path, metavar="IN")
    convert.add_argument("output", type=Path, metavar="OUT.h5")

    export = commands.add_parser("export", parents=[common], help="turn images into other formats")
    export.add_argument("input", type=Path, metavar="IN.h5")
    export.add_argument("--group", help="group that holds the images, where there are several")
    export.add_argument("--png", type=Path, required=True, metavar="DIR", help="one PNG a slice, and a montage")

    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--sessions", type=Path, default=argparse.SUPPRESS, metavar="DIR")  # or that before the action
    listing = commands.add_parser("sessions", parents=[common, sessions], help="list, show, retry... sessions")
    actions = listing.add_subparsers(dest="action", metavar="list|show|retry|archive|delete")
    actions.add_parser("list", parents=[common, where])
    for name in ("show", "archive", "delete"):
        actions.add_parser(name, parents=[common, where]).add_argument("id")
    actions.choices["archive"].add_argument("--output", type=Path, required=True, metavar="OUT.h5", help="replaced")
    retry = actions.add_parser("retry", parents=[common, where, places])
    retry.add_argument("id")
    retry.add_argument("--config", metavar="NAME|FILE", help="another chain than the session's own")
    retry.add_argument("--output", type=Path, metavar="OUT.h5", help="also write the images here")
    _add_settings(retry)
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set", type=_setting, action="append", default=[], metavar="GADGET.PARAMETER=VALUE", dest="settings"
    )


if __name__ == "__main__":
    sys.exit(main())
