from __future__ import annotations

import pytest

from ag3d.config import Training
from ag3d.model.training import stages


def test_lazy_corrections_are_the_published_numbers():
    g, d = stages.adam_g(Training()), stages.adam_d(Training())
    assert g.lr == pytest.approx(0.002)
    assert g.betas == pytest.approx((0, 0.99199189))
    assert d.lr == pytest.approx(0.00188235, abs=1e-8)
    assert d.betas == pytest.approx((0, 0.99058536))


def test_no_correction_without_regularisation():
    assert stages.adam_g(Training(density_reg=0)).lr == 0.0025
    assert stages.adam_d(Training(r1_gamma=0)).betas == (0, 0.99)


def test_blur_fades_linearly():
    settings = Training(batch_size=16)  # over 100 kimg
    assert stages.blur_sigma(settings, 0) == 10
    assert stages.blur_sigma(settings, 25_000) == pytest.approx(7.5)
    assert stages.blur_sigma(settings, 100_000) == 0
    assert stages.blur_sigma(settings, 200_000) == 0
    assert stages.blur_sigma(Training(blur_fade_kimg=0), 0) == 0


def test_ema_ramps_up():
    settings = Training(batch_size=32)
    assert stages.ema_beta(settings, 0) == 0
    assert stages.ema_beta(settings, 6400) == pytest.approx(0.5 ** (32 / 320))
    assert stages.ema_beta(settings, 10**7) == pytest.approx(0.5 ** (32 / 10_000))
    assert stages.ema_beta(Training(batch_size=32, ema_rampup=0), 0) == pytest.approx(0.5 ** (32 / 10_000))


@pytest.mark.parametrize(
    ("kimg", "batch", "steps"), [(3, 8, 375), (0.05, 8, 7), (0, 8, 0), (1.5, 8, 188), (25000, 32, 781250)]
)
def test_steps(kimg, batch, steps):
    assert stages.steps_until(kimg, batch) == steps
    assert steps * batch >= kimg * 1000 > (steps - 1) * batch


def test_fine_tuning_neither_blurs_nor_begins_the_average_anew():
    settings = Training(batch_size=32, resume_from="somewhere")
    assert stages.blur_sigma(settings, 0) == 0
    assert stages.ema_beta(settings, 0) == pytest.approx(0.5 ** (32 / 10_000))
    asked = Training(batch_size=32, resume_from="somewhere", blur_fade_kimg=10, ema_rampup=0.1)
    assert stages.blur_sigma(asked, 5000) == 5
    assert stages.ema_beta(asked, 0) == 0
