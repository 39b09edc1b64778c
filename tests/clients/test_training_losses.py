"""Losses and metrics, against closed forms and their definition."""

import math

import numpy as np
import pytest
import scipy.ndimage
import torch

from echotrain.clients.training.losses import l1_loss, ssim_l1_loss, ssim_loss, ssim_map
from echotrain.clients.training.metrics import compare, head_of


def pictures(seed=0, shape=(2, 20, 23)):
    random = np.random.default_rng(seed)
    truth = random.random(shape) + 0.1
    return truth + 0.1 * random.standard_normal(shape), truth


def everywhere(image):
    return torch.ones(image.shape, dtype=torch.bool)


def ssim_by_definition(image, truth, data_range):
    """Windows of 7 x 7 one by one, with unbiased variances."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    found = np.empty((image.shape[0] - 6, image.shape[1] - 6))
    for y, x in np.ndindex(found.shape):
        a, b = image[y : y + 7, x : x + 7], truth[y : y + 7, x : x + 7]
        covariance = np.cov(a.ravel(), b.ravel())
        found[y, x] = (2 * a.mean() * b.mean() + c1) * (2 * covariance[0, 1] + c2)
        found[y, x] /= (a.mean() ** 2 + b.mean() ** 2 + c1) * (covariance[0, 0] + covariance[1, 1] + c2)
    return found


def test_structural_similarity_is_that_of_each_window():
    image, truth = pictures()
    found = ssim_map(torch.from_numpy(image), torch.from_numpy(truth), 1.3)
    for number in range(2):
        np.testing.assert_allclose(found[number], ssim_by_definition(image[number], truth[number], 1.3), rtol=1e-9)


def test_structural_similarity_of_flat_pictures_has_a_closed_form():
    """Without variance (2ab + c1) / (a^2 + b^2 + c1) is left."""
    a, b = torch.full((1, 9, 8), 0.5, dtype=torch.float64), torch.full((1, 9, 8), 0.8, dtype=torch.float64)
    wanted = (2 * 0.5 * 0.8 + 1e-4) / (0.25 + 0.64 + 1e-4)
    assert float(1 - ssim_loss(a, b, 1.0, everywhere(a))) == pytest.approx(wanted, rel=1e-9)


def test_both_losses_are_of_structure_in_the_head_and_of_brightness_everywhere():
    image, truth = (torch.from_numpy(part) for part in pictures())
    head = everywhere(truth)
    head[:, :9] = False
    wanted = ssim_loss(image, truth, 1.2, head) + 10 * (image - truth).abs().mean() / 1.2
    assert float(ssim_l1_loss(image, truth, 1.2, head)) == pytest.approx(float(wanted), rel=1e-9)


def test_losses_are_nothing_for_the_truth_itself_and_lead_towards_it():
    truth = torch.from_numpy(pictures()[1])
    for loss in (ssim_loss, l1_loss, ssim_l1_loss):
        assert float(loss(truth, truth, 1.0, everywhere(truth))) == pytest.approx(0, abs=1e-12)
        image = (0.7 * truth + 0.1).requires_grad_()
        before = loss(image, truth, 1.0, everywhere(truth))
        before.backward()
        with torch.no_grad():
            after = loss(image - 0.1 * image.grad / image.grad.norm(), truth, 1.0, everywhere(truth))
        assert float(after) < float(before.detach())


def test_gradients_of_structural_similarity_are_those_of_differences():
    image, truth = (torch.from_numpy(each) for each in pictures(shape=(1, 9, 8)))
    assert torch.autograd.gradcheck(lambda x: ssim_loss(x, truth, 1.2, everywhere(truth)), image.requires_grad_())


def test_l1_is_a_fraction_of_the_data_range():
    truth = torch.zeros(1, 8, 9)
    assert float(l1_loss(truth + 3, truth, 12.0, everywhere(truth))) == pytest.approx(0.25)


def test_losses_are_those_at_the_pixels_that_count():
    image, truth = (torch.from_numpy(each) for each in pictures())
    pixels = torch.zeros(truth.shape, dtype=torch.bool)
    pixels[:, 5:12, 8:15] = True
    reached = torch.zeros_like(pixels)
    reached[:, 2:15, 5:18] = True  # by windows around them
    worse = torch.where(reached, image, image + 3)
    for loss in (ssim_loss, l1_loss):
        assert float(loss(worse, truth, 1.0, pixels)) == pytest.approx(float(loss(image, truth, 1.0, pixels)))
        assert float(loss(worse, truth, 1.0, everywhere(truth))) > float(loss(image, truth, 1.0, everywhere(truth)))


def test_figures_are_those_of_the_whole_volume():
    image, truth = pictures(1)
    truth[1] *= 0.2  # a dark slice does not set its own data range
    found = compare(image, truth)
    errors = (image - truth) ** 2
    assert found.psnr == pytest.approx(10 * math.log10(truth.max() ** 2 / errors.mean()))
    assert found.nmse == pytest.approx(errors.sum() / (truth**2).sum())
    wanted = [ssim_by_definition(a, b, truth.max()).mean() for a, b in zip(image, truth, strict=True)]
    assert found.ssim == pytest.approx(np.mean(wanted))


def test_figures_agree_with_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    image, truth = pictures(2)
    found = compare(image, truth)
    assert found.psnr == pytest.approx(metrics.peak_signal_noise_ratio(truth, image, data_range=truth.max()))
    wanted = [metrics.structural_similarity(b, a, data_range=truth.max()) for a, b in zip(image, truth, strict=True)]
    assert found.ssim == pytest.approx(np.mean(wanted))


def test_what_lies_outside_of_the_head_does_not_count():
    image, truth = pictures(3)
    heads = np.zeros(truth.shape, bool)
    heads[:, 7:12, 8:15] = True
    around = scipy.ndimage.binary_dilation(heads, np.ones((1, 7, 7)))  # what windows of head pixels reach
    worse = np.where(around, image, image + 5)
    assert compare(worse, truth, heads) == pytest.approx(compare(image, truth, heads))
    assert compare(worse, truth).psnr < compare(image, truth).psnr - 5


def test_a_head_holds_its_dark_parts():
    image = np.zeros((40, 44), np.float32)
    image[8:30, 10:36] = 1
    image[15:20, 18:25] = 0
    found = head_of(image)
    assert found[9:29, 11:35].all()  # corners may be rounded
    assert not found[:8].any()
    assert not found[30:].any()
    assert not found[:, :10].any()
    assert not found[:, 36:].any()
    assert head_of(np.zeros((9, 8), np.float32)).all()
