"""Hours, money and electricity of FLOPs: by hand, and against published runs."""

import dataclasses

import numpy as np
import pytest

from scaling.outlook.cost import HARDWARE, cost


def test_by_hand():
    one = dataclasses.replace(HARDWARE["h100"], peak_flops=1e15, watts=500.0, dollars_per_hour=2.0)
    found = cost(3.6e18 * 10, one, n_devices=4, mfu=0.5, pue=1.2, kg_co2_per_kwh=0.5)
    assert found.device_hours == pytest.approx(20)  # 3.6e19 / (1e15 * 0.5) / 3600
    assert found.hours == pytest.approx(5)
    assert found.money == pytest.approx(40)
    assert found.kwh == pytest.approx(20 * 0.5 * 1.2)
    assert found.kg_co2 == pytest.approx(6)
    assert "20 h of one NVIDIA H100" in str(found) and "$40" in str(found)


def test_arrays_and_their_sum():
    each, whole = cost(np.array([1e20, 3e20]), "a100"), cost(4e20, "a100")
    assert each.money.sum() == pytest.approx(whole.money)
    assert str(each) == str(whole)


def test_a_published_run():
    """Grattafiori et al. 2024 (arXiv 2407.21783): Llama 3 405B, 3.8e25 FLOPs at 38 to 43 % of the peak of
    up to 16,384 H100; its model card says 30.84e6 hours of them."""
    found = cost(3.8e25, "h100", n_devices=16384, mfu=0.38)
    assert found.device_hours == pytest.approx(30.84e6, rel=0.1)
    assert 50 < found.hours / 24 < 90


def test_every_device_is_plausible():
    for device in HARDWARE.values():
        per_watt = device.peak_flops / device.watts
        assert 1e10 < per_watt < 1e13 and 0 <= device.dollars_per_hour < 20 and device.source


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"hardware": "abacus"}, "unknown hardware 'abacus'; there are h100"),
        ({"mfu": 0.0}, "mfu=0.0"),
        ({"mfu": 1.5}, "mfu=1.5"),
        ({"n_devices": 0}, "n_devices=0"),
        ({"pue": 0.9}, "pue=0.9"),
        ({"flops": float("nan")}, "flops=nan"),
    ],
)
def test_wrong_input_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        cost(**{"flops": 1e20, **arguments})
