"""A small VarNet in a stream: the network alone, images a second of 16 channels at R = 4, and the time to the first."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from scans import header_and_frame
from serving import running_server

from echotrain.clients.client import open_scan
from echotrain.clients.simulate import Scan, simulate
from echotrain.gadgets.learned.folders import VARIABLE
from echotrain.gadgets.learned.networks import build
from echotrain.gadgets.learned.weights import ModelCard, load_weights, save_weights
from echotrain.mrd import Image
from echotrain.server.allocator import keep_freed_buffers

SMALL = {"cascades": 4, "channels": 9, "pools": 3, "sens_channels": 8, "sens_pools": 4}
CHAIN = """<chain>
  <gadget name="Prewhiten"/><gadget name="RemoveOversampling"/><gadget name="CollectKSpace"/>
  <gadget name="LearnedReconstruction" model="speed"/>
</chain>"""
N_CHANNELS, MATRIX, ACCELERATION, N_CENTRE = 16, 256, 4, 20
REPETITIONS = 6
RUNS = 5


def slice_ms() -> float:
    """The network alone [ms]."""
    kspace = torch.randn(1, N_CHANNELS, MATRIX, MATRIX, dtype=torch.complex64)
    mask = torch.arange(MATRIX) % ACCELERATION == 0
    mask[MATRIX // 2 - N_CENTRE // 2 :][:N_CENTRE] = True
    network, times = load_weights("speed").network, []
    with torch.inference_mode():
        for _ in range(RUNS + 1):
            start = time.perf_counter()
            network.reconstruct(kspace, mask, N_CENTRE)
            times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[1:])


def images_a_second(address: str) -> float:
    """Of a scan sent as fast as it goes, from the first image on."""
    header, batches = simulate(
        Scan(
            matrix=MATRIX,
            coils=N_CHANNELS,
            acceleration=ACCELERATION,
            calibration=N_CENTRE,
            repetitions=REPETITIONS,
            noise=0.01,
        )
    )
    lines = list(batches)
    with open_scan(CHAIN, header, server=address) as scan:
        for batch in lines:
            scan.send(batch)
        scan.end()
        times = [time.perf_counter() for item in scan.items() if isinstance(item, Image)]
    return (len(times) - 1) / (times[-1] - times[0])


def first_image_ms(address: str, chain: str) -> float:
    """From connecting to the first image of a tiny scan [ms]."""
    header, frame = header_and_frame(Scan(matrix=(32, 24), coils=4))
    start = time.perf_counter()
    with open_scan(chain, header, server=address) as scan:
        scan.send(frame)
        scan.end()
        next(scan.images())
        return 1000 * (time.perf_counter() - start)


def main() -> None:
    """Print a row each."""
    keep_freed_buffers()  # as workers do
    with tempfile.TemporaryDirectory() as folder:
        os.environ[VARIABLE] = folder
        network = build({"architecture": "varnet", "parameters": SMALL})
        save_weights(Path(folder) / "speed.safetensors", network, ModelCard("varnet", SMALL, bits=16))
        start = time.perf_counter()
        load_weights("speed")
        print(f"load the weights {1000 * (time.perf_counter() - start):.0f} ms")
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            print(f"network alone, a slice, {n_threads} threads {slice_ms():.0f} ms")
        with running_server() as server:
            time.sleep(2)  # the worker is warm
            for chain, words in (("rss", "rss"), (CHAIN, "varnet")):
                times = []
                for _ in range(RUNS):
                    times.append(first_image_ms(server.address, chain))
                    time.sleep(1)  # the worker that takes the place of the last one is warm again
                print(
                    f"connect to first image, tiny scan, {words}: first {times[0]:.0f} ms, then "
                    f"{statistics.median(times[1:]):.0f} ms"
                )
            print(f"stream {images_a_second(server.address):.2f} images a second")


if __name__ == "__main__":
    main()
