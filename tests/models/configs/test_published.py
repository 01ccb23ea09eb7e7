"""Our counts of published models are the published ones."""

import pytest

from models import count
from models.configs.published import PUBLISHED

PARAMETERS = {
    "gpt2-small": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "llama-7b": 6_738_415_616,
    "llama-3-8b": 8_030_261_248,
    "mistral-7b": 7_241_732_096,
    "mixtral-8x7b": 46_702_792_704,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_total_parameters_are_those_of_the_published_checkpoints(name):
    assert count(PUBLISHED[name]).n_total == PARAMETERS[name]


def test_mixtral_uses_13_billion_of_its_parameters_a_token():
    assert count(PUBLISHED["mixtral-8x7b"]).n_active == pytest.approx(12.9e9 - 32_000 * 4096, rel=0.01)
