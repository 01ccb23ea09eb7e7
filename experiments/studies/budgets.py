"""Which models a study trains on which compute: sweeps of learning rates, IsoFLOP grids, presets."""

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["PRESETS", "GridBudget", "Sweep", "with_preset"]


@dataclass(frozen=True)
class Sweep:
    """Models of one width, trained on a budget of FLOPs, at every rate of the sweep."""

    d_model: int
    flops: float


@dataclass(frozen=True)
class GridBudget:
    """Models of several widths, all trained on the same budget of FLOPs."""

    flops: float
    d_models: tuple[int, ...]


_LARGE = (  # of both presets: models that GPUs are busy with
    *("data.vocab=sentencepiece", "data.vocab_size=32000"),
    *("seq_len=2048", "dtype=bfloat16", "remat=true", "micro_batches=8", "optimizer.b2=0.95"),
    "lrs=[5e-4,1e-3,2e-3,4e-3,8e-3]",
)
# Settings of the default study on other machines, by name; the best size of a budget C is near √(C / 120).
PRESETS = {
    # One H100 for a day, at 40 % of its peak: models of 14M to 200M parameters, C4.
    "gpu_day": (
        *_LARGE,
        *("data.task=c4", "batch_tokens=262144", "n_val_tokens=2097152", "schedule.warmup_tokens=2e7"),
        'tune=[{"d_model":256,"flops":3e16},{"d_model":320,"flops":6e16},{"d_model":384,"flops":1.2e17}]',
        'grid=[{"flops":1e17,"d_models":[256,320,384,448]},{"flops":3e17,"d_models":[320,384,448,576]},'
        '{"flops":8e17,"d_models":[384,448,576,640]},{"flops":1.5e18,"d_models":[448,512,640,768]}]',
    ),
    # A pod of hundreds of devices for days: models to 7B parameters, a check at 1e22 FLOPs, FineWeb-Edu.
    "pod": (
        *_LARGE,
        *("data.task=hugging_face", "data.path=HuggingFaceFW/fineweb-edu:sample-350BT"),
        *("batch_tokens=1048576", "n_val_tokens=4194304", "schedule.warmup_tokens=2e8"),
        'tune=[{"d_model":384,"flops":5e17},{"d_model":512,"flops":1e18},{"d_model":768,"flops":4e18}]',
        'grid=[{"flops":1e19,"d_models":[640,768,896,1152]},{"flops":5e19,"d_models":[896,1024,1280,1536]},'
        '{"flops":2.5e20,"d_models":[1152,1536,1792,2048]},{"flops":1.25e21,"d_models":[1536,2048,2304,2624]}]',
    ),
}


def with_preset(overrides: Iterable[str]) -> list[str]:
    """Overrides of settings with those of a preset, if "preset=NAME" is one of them, before them.

    Raises:
      ValueError: there is no preset of that name.
    """
    said = [override.partition("=")[2] for override in overrides if override.startswith("preset=")]
    if unknown := [name for name in said if name not in PRESETS]:
        raise ValueError(f"--set preset={unknown[0]}; there are {', '.join(PRESETS)}")
    others = [override for override in overrides if not override.startswith("preset=")]
    return [*(each for name in said for each in PRESETS[name]), *others]
