"""What parallel imaging rests on, beside peers and theory: whitening, coil compression, coil maps, noise amplification.

Each function gives rows of a table, as text.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from image_errors import error, relative
from imaging_programs import OURS, bart, has_bart, maps_of, timed
from imaging_scans import N_CALIBRATION, PLANE, kept, simulated

from echotrain.clients.coils import coil_sensitivities
from echotrain.clients.phantom import phantom_image
from echotrain.gadgets.cg_sense import cg_sense
from echotrain.gadgets.coil_compression import compress_channels, compression_matrix, geometric_matrices
from echotrain.gadgets.coils import combine, root_sum_of_squares
from echotrain.gadgets.fourier import centred_fft, centred_ifft
from echotrain.gadgets.grappa_weights import g_factor, grappa_lines, grappa_unmixing, grappa_weights
from echotrain.gadgets.noise import noise_covariance, noise_products, whitening_matrix
from echotrain.gadgets.sense_unfolding import sense, sense_unmixing

Cells = tuple[str, ...]
N_SAMPLES = 40_000
VIRTUAL = 6
STEP = 3
REPLICAS = 128


def noise_of(random: np.random.Generator, *shape: int) -> np.ndarray:
    """White, of unit deviation in real and imaginary part."""
    return random.standard_normal((*shape, 2), np.float32).view(np.complex64)[..., 0]


def whitening(channels: int) -> Iterator[Cells]:
    """The largest difference from 1 of the covariance, of the noise that it was learnt from and of other noise."""
    random = np.random.default_rng(1)
    distance = np.abs(np.subtract.outer(np.arange(channels), np.arange(channels)))
    factor = np.linalg.cholesky(0.6**distance) * random.uniform(0.5, 2, (channels, 1))
    known, other = ((factor @ noise_of(random, channels, N_SAMPLES)).astype(np.complex64) for _ in range(2))

    def ours() -> np.ndarray:
        matrix = whitening_matrix(noise_covariance(noise_products(known[None]), N_SAMPLES))
        return np.stack([(matrix @ lines).astype(np.complex64) for lines in (known, other)])

    def theirs() -> np.ndarray:
        return np.stack([bart("whiten", lines[:, None], known[:, None]) for lines in (known, other)])

    for program, made in ((OURS, ours), *([("BART", theirs)] if has_bart() else [])):
        white, seconds = timed(made)
        off = [np.abs(lines @ lines.conj().T / N_SAMPLES - np.eye(channels)).max() for lines in white]
        yield "whitening", program, f"{off[0]:.1e}, other noise {off[1]:.3f}", f"{seconds:.4f}"


def compression(kspace: np.ndarray, whole: np.ndarray) -> Iterator[Cells]:
    """Energy that virtual channels hold of the calibration, and the error of the image of all lines."""
    lines = kept(kspace, whole, 1)
    hybrid = centred_ifft(lines.block, (-1,))

    def ours(method: str) -> np.ndarray:
        if method == "SVD":
            return compress_channels(kspace[:, None], compression_matrix(lines.calibration, VIRTUAL))[:, 0]
        matrices = geometric_matrices(hybrid, VIRTUAL)
        return centred_fft(compress_channels(centred_ifft(kspace[:, None], (-1,)), matrices), (-1,))[:, 0]

    def theirs(method: str) -> np.ndarray:
        size = N_CALIBRATION if method == "SVD" else f"{kspace.shape[2]}:{N_CALIBRATION}:1"
        return bart(f"cc -p {VIRTUAL} -{method[0].upper()} -r {size}", kspace)

    truth = np.linalg.norm(lines.block)
    for method in ("SVD", "geometric"):
        for program, made in ((OURS, ours), *([("BART", theirs)] if has_bart() else [])):
            virtual, seconds = timed(lambda made=made, method=method: made(method))
            held = (np.linalg.norm(lines._replace(kspace=virtual).block) / truth) ** 2
            found = error(root_sum_of_squares(centred_ifft(virtual, PLANE)), lines)
            name = f"{VIRTUAL} of {len(kspace)} channels, {method}"
            yield name, program, f"energy {100 * held:.3f} %, NRMSE {found:.4f}", f"{seconds:.4f}"


def maps_by_all(kspace: np.ndarray, whole: np.ndarray) -> Iterator[Cells]:
    """Errors of coil maps against those of the simulation, up to a phase in each pixel, within the object."""
    lines = kept(kspace, whole, 2)
    coils = coil_sensitivities(len(kspace), kspace.shape[1:])
    coils /= np.linalg.norm(coils, axis=0)
    inside = np.abs(phantom_image(kspace.shape[1:])) > 0.05
    for row in maps_of(lines):
        overlap = np.sum(row.maps.conj() * coils, axis=0)
        turned = row.maps * np.exp(1j * np.angle(overlap))
        covered = 100 * np.mean(np.any(row.maps[:, inside] != 0, axis=0))
        figure = f"error {relative(turned[:, inside], coils[:, inside]):.4f}, covers {covered:.1f} %"
        yield row.method, row.program, figure, f"{row.seconds:.3f}"


def amplification(matrix: int, channels: int) -> Iterator[Cells]:
    """Noise of images of noise alone, over that which the g-factor says, with the simulation's own coils."""
    shape = (1, matrix, matrix)
    coils = coil_sensitivities(channels, shape[1:])[:, None]
    inside = np.abs(phantom_image(shape[1:])) > 0.05
    maps = np.where(inside, coils / np.linalg.norm(coils, axis=0), 0).astype(np.complex64)
    block = centred_fft(coils * phantom_image(shape[1:]), PLANE)[:, :, matrix // 2 - 16 : matrix // 2 + 16]
    weights = grappa_weights(block.astype(np.complex64), STEP)
    sampled = np.zeros((1, matrix), bool)
    sampled[:, ::STEP] = True
    random = np.random.default_rng(2)

    def by_lines(kspace: np.ndarray) -> np.ndarray:
        filled = kspace.copy()
        filled[:, ~sampled] = centred_fft(grappa_lines(centred_ifft(kspace, (-1,)), ~sampled, sampled, weights), (-1,))
        return combine(centred_ifft(filled, PLANE), maps)

    expected = sense_unmixing(maps, (STEP, 1, 0))
    methods = {
        "GRAPPA": (by_lines, grappa_unmixing(weights, maps)),
        "SENSE": (lambda kspace: sense(kspace, maps, sampled=sampled), expected),
        "CG-SENSE": (
            lambda kspace: cg_sense(kspace, maps, sampled=sampled, regularization=0, iterations=60, tolerance=1e-4),
            expected,
        ),
    }
    for name, (reconstructed, unmixing) in methods.items():
        g = g_factor(unmixing, (STEP, 1))[0]
        energy = np.zeros(shape[1:])
        for _ in range(REPLICAS):
            kspace = np.where(sampled[..., None], noise_of(random, channels, *shape), 0)
            energy += np.abs(reconstructed(kspace)[0]) ** 2
        # Every nth line alone has 1 / n of the variance of all in its image, and g counts from there.
        ratio = np.sqrt(energy / (2 * REPLICAS)) / (g * np.sqrt(STEP)).clip(1e-6)
        scatter = ratio[inside].std()
        figure = f"{ratio[inside].mean():.3f} ± {scatter:.3f} (chance: {1 / np.sqrt(4 * REPLICAS):.3f})"
        yield f"noise over g-factor, {name}", OURS, f"{figure}, g {g[inside].mean():.2f} to {g[inside].max():.2f}", ""


def parts(matrix: int, channels: int, noise: float) -> list[Cells]:
    """All of them."""
    kspace, whole = (simulated(matrix, channels, level) for level in (noise, 0))
    return [
        *whitening(channels),
        *compression(kspace, whole),
        *maps_by_all(kspace, whole),
        *amplification(60, 8),
    ]
