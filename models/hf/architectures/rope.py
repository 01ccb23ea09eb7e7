"""Rotary positions in a config.json, in the spelling of transformers 4 and of transformers 5."""

import math
from typing import Any

from models.configs.layers import RopeScaling
from models.hf.fields import Fields


def rope_from_json(fields: Fields, max_len: int, theta: float = 10_000.0) -> tuple[float, RopeScaling | None]:
    """Base and stretching of the rotary positions; `theta` is the architecture's own default.

    Version 4 has `rope_theta` and `rope_scaling`, version 5 both in `rope_parameters`. Where the length
    trained on is not given it is `max_len`, as in transformers.

    Raises:
      ValueError: a kind or a parameter that we do not support, or two spellings that say different things.
    """
    old, new = fields.take("rope_scaling", {}), fields.take("rope_parameters", {})
    if old and new and old != new:
        raise ValueError(f"config.json: rope_scaling={old} and rope_parameters={new} differ; keep one")
    fields.require("partial_rotary_factor", 1.0)
    rope = Fields(old or new, where="config.json: rope parameters")
    outside, inside = fields.take("rope_theta", 0), rope.take("rope_theta", 0)
    if outside and inside and outside != inside:
        raise ValueError(
            f"config.json: rope_theta={outside}, and {inside} among the rope parameters; keep one"
        )
    theta = float(outside or inside or theta)
    rope.require("partial_rotary_factor", 1.0)
    kind = rope.take("rope_type", rope.left.pop("type", "default"))
    original_len = fields.take("original_max_position_embeddings", 0)
    original_len = original_len or rope.take("original_max_position_embeddings", max_len)
    if kind == "default":
        scaling = None
    elif kind == "linear":
        scaling = RopeScaling("linear", float(rope.take("factor")))
    elif kind == "llama3":
        scaling = RopeScaling(
            "llama3",
            float(rope.take("factor")),
            original_len,
            low_freq_factor=float(rope.take("low_freq_factor")),
            high_freq_factor=float(rope.take("high_freq_factor")),
        )
    elif kind == "yarn":
        factor = float(rope.take("factor", max_len / original_len if original_len else 1.0))
        sharpening = _sharpening(factor, rope.take("mscale", 0), rope.take("mscale_all_dim", 0))
        scaling = RopeScaling(
            "yarn",
            factor,
            original_len,
            beta_fast=float(rope.take("beta_fast", 32.0)),
            beta_slow=float(rope.take("beta_slow", 1.0)),
            attention_factor=float(rope.take("attention_factor", sharpening)),
            truncate=rope.take("truncate", True),
        )
    else:
        allowed = "'default', 'linear', 'llama3', 'yarn'"
        raise ValueError(f"config.json: rope_type={kind!r} is not supported; allowed: {allowed}")
    rope.done("type", "finetuned", "original_max_position_embeddings", "attention_factor")
    return theta, scaling


def rope_to_json(theta: float, scaling: RopeScaling | None) -> dict[str, Any]:
    """The fields in the spelling of version 4, which version 5 reads as well."""
    if scaling is None:
        return {"rope_theta": theta, "rope_scaling": None}
    if scaling.kind == "longrope":
        raise ValueError(
            "model: rope_scaling 'longrope' is not written: of its factors those for texts beyond "
            f"{scaling.original_len} tokens are not kept"
        )
    rope: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind != "linear":
        rope["original_max_position_embeddings"] = scaling.original_len
    if scaling.kind == "llama3":
        rope |= {"low_freq_factor": scaling.low_freq_factor, "high_freq_factor": scaling.high_freq_factor}
    if scaling.kind == "yarn":
        rope |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow, "truncate": scaling.truncate}
        rope |= {"attention_factor": scaling.attention_factor} if scaling.attention_factor else {}
    return {"rope_theta": theta, "rope_scaling": rope}


def _sharpening(factor: float, mscale: float, mscale_all: float) -> float:
    """Yarn's factor of cosines and sines in DeepSeek's spelling; 0, our word for the paper's, without it."""
    if not (mscale and mscale_all and factor > 0):
        return 0.0
    grown = 0.1 * math.log(factor)
    return (grown * mscale + 1) / (grown * mscale_all + 1)
