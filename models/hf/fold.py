"""Multipliers that others do not have, folded into the parameters: another network, the same function."""

from dataclasses import replace

from models.configs.transformer import BLOCKS, DENSE, TransformerConfig
from models.parametrization import attention_scale, branch_scale, logit_scale


def fold(config: TransformerConfig) -> tuple[TransformerConfig, dict[str, float]]:
    """The configuration without scales of embedding, attention, branches and logits (so without muP), and
    what the parameters are multiplied with instead, by path."""
    factors: dict[str, float] = {}

    def multiply(factor: float, *paths: str) -> None:
        dense = [path.replace(BLOCKS, DENSE, 1) for path in paths if path.startswith(BLOCKS)]
        factors.update({path: factors.get(path, 1.0) * factor for path in (*paths, *dense)})

    multiply(config.embedding_scale, "ends/embedding")
    # A tied table is the head as well; the final norm takes out what went in, and scales the logits.
    lifted = config.embedding_scale if config.tied_embeddings else 1.0
    multiply(logit_scale(config) / lifted, "ends/final_norm/scale", "ends/final_norm/bias")
    multiply(logit_scale(config), "blocks/mlp/router")
    scores = attention_scale(config) * config.d_head**0.5
    if config.qk_norm == "none":
        multiply(scores, "blocks/attention/w_q", "blocks/attention/b_q")
    else:
        multiply(scores, "blocks/attention/q_norm/scale")
    if config.norm_position == "pre":
        branches = ("attention/w_o", "attention/b_o", "mlp/w_down", "mlp/b_down", "mlp/shared/w_down")
    else:
        branches = tuple(f"{norm}/{part}" for norm in NORMS for part in ("scale", "bias"))
    multiply(branch_scale(config), *(f"blocks/{path}" for path in branches))
    return replace(config, embedding_scale=1.0, attention_scale=0.0, mup=None), factors


NORMS = ("attention_out_norm", "mlp_out_norm")
