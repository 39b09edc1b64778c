"""Total variation: its step is the adjoint of itself, and takes off what can be written down."""

import numpy as np
import pytest
import torch
from undersampling import noise

from echotrain.gadgets.total_variation import TotalVariation

SHAPE = (3, 2, 5, 4, 7)  # frame, set, x, z, y


def images(seed=0):
    return torch.from_numpy(noise(*SHAPE, seed=seed))


@pytest.mark.parametrize("terms", [(((2, 4), 1.0),), (((0,), 2.0),), (((2, 3, 4), 1.0), ((0,), 0.5))])
def test_the_gradient_and_its_adjoint_are_adjoint(terms):
    variation = TotalVariation(*terms)
    n_axes = sum(len(axes) for axes, _ in terms)
    rng = np.random.default_rng(1)
    parts, other = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((2, *SHAPE), (n_axes, 2, *SHAPE)))
    there, back = variation.gradient(parts), variation.adjoint(other)
    assert float((there * other).sum()) == pytest.approx(float((parts * back).sum()), rel=1e-10)


def test_its_value_is_the_length_of_the_gradient_over_both_sets():
    image = torch.zeros(1, 2, 1, 1, 4, dtype=torch.complex64)
    image[0, 0, ..., 2:] = 3
    image[0, 1, ..., 2:] = 4j
    assert TotalVariation(((4,), 0.5)).value(image) == pytest.approx(2.5)
    assert TotalVariation(((2, 3, 4), 0.5)).value(image) == pytest.approx(2.5)


def test_a_step_becomes_lower_by_the_weight_over_the_pixels_on_each_side():
    """Levels of n and of m pixels come nearer to each other by weight / n and weight / m, and keep their phase."""
    n, m, weight, phase = 5, 8, 0.75, np.exp(0.7j)
    step = torch.zeros(1, 1, 1, 1, n + m, dtype=torch.complex64)
    step[..., n:] = complex(phase)
    found = TotalVariation(((4,), weight), iterations=300).shrink(step).flatten().numpy()
    np.testing.assert_allclose(found[:n], weight / n * phase, atol=1e-4)
    np.testing.assert_allclose(found[n:], (1 - weight / m) * phase, atol=1e-4)


def test_a_step_that_the_weight_outweighs_becomes_flat():
    step = torch.tensor([0, 0, 0, 1, 1], dtype=torch.complex64).reshape(5, 1, 1, 1, 1)
    found = TotalVariation(((0,), 5.0), iterations=300).shrink(step)
    np.testing.assert_allclose(found.flatten().numpy(), 0.4, atol=1e-4)


def test_no_other_image_is_better_and_steps_of_few_iterations_end_where_one_of_many_does():
    image, terms = images(), (((2, 3, 4), 0.3), ((0,), 0.2))

    def objective(x):
        return float((x - image).abs().square().sum()) / 2 + variation.value(x)

    variation = TotalVariation(*terms, iterations=500)
    best = variation.shrink(image)
    for seed in range(1, 4):
        for size in (1e-3, 1e-2, 0.1):
            assert objective(best) < objective(best + size * images(seed)) + 1e-4
    again = TotalVariation(*terms, iterations=5)
    for _ in range(100):
        found = again.shrink(image)
    assert float((found - best).abs().max()) < 1e-2


def test_a_longer_step_is_as_a_larger_weight():
    long = TotalVariation(((2, 4), 0.2), iterations=50).shrink(images(), 2.0)
    heavy = TotalVariation(((2, 4), 0.4), iterations=50).shrink(images())
    torch.testing.assert_close(long, heavy)


def test_without_weight_or_axes_images_stay():
    assert torch.equal(TotalVariation().shrink(images()), images())
    torch.testing.assert_close(TotalVariation(((2, 4), 0.0)).shrink(images()), images())
