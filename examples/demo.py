"""The one-minute start: a server, a simulated scan streamed at scanner pace, images and a picture.

Usage: python examples/demo.py [FOLDER]
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    folder.mkdir(parents=True, exist_ok=True)
    scan, images = folder / "scan.h5", folder / "images.h5"

    print("Simulating a scan: 3 slices, 256 x 256, 12 coils with correlated noise, 5 ms a line.")
    echotrain(
        *("simulate", str(scan), "--matrix", "256", "--coils", "12", "--slices", "3"),
        *("--noise", "0.01", "--correlation", "0.4", "--tr-ms", "5"),
    )

    command = [*ECHOTRAIN, "serve", "--bind", "tcp://127.0.0.1:*", "--mrd", "127.0.0.1:0"]
    command += ["--sessions", str(folder / "sessions")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            ready = server.stdout.readline().strip()
            if not ready.startswith("ready"):
                sys.exit("the server did not start; what it says stands above")
            print(f"Server: {ready}")
            address = ready.split()[2].rstrip(",")
            print("Streaming it at scanner pace through the chain 'fft': prewhitening, Fourier transform, coils.")
            start = time.monotonic()
            echotrain(
                *("replay", str(scan), "--config", "fft", "--speed", "realtime"),
                *("--server", address, "--output", str(images)),
            )
            print(f"It took {time.monotonic() - start:.1f} s.")
        finally:
            server.terminate()

    echotrain("export", str(images), "--png", str(folder / "png"))
    print(f"\nImages: {images}\nPicture: {folder / 'png' / 'montage.png'}")


ECHOTRAIN = [sys.executable, "-m", "echotrain.clients.main"]


def echotrain(*arguments: str) -> None:
    """Run one command and stop at its failure."""
    if subprocess.run([*ECHOTRAIN, *arguments], check=False).returncode:
        sys.exit(1)


if __name__ == "__main__":
    main()
