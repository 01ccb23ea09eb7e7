"""The decoder-only transformer with a mixture of experts for each feed-forward layer."""

import functools

from models.configs.moe import experts_of
from models.configs.transformer import TransformerConfig
from models.families import transformer
from models.layers.moe import MoE
from models.model import Model
from models.parameters import Keys
from models.parametrization import branch_std, head_std, logit_scale, narrow_std


def build(config: TransformerConfig) -> Model:
    """The network as functions of plain parameters; see `Model` for their shapes."""
    return transformer.build(config, mixture)


def mixture(config: TransformerConfig, keys: Keys) -> MoE:
    """One layer's mixture of experts."""
    return MoE(
        keys,
        config.d_model,
        experts_of(config),
        router_std=head_std(config),
        router_scale=logit_scale(config),
        gate_std=narrow_std(config),
        output_std=functools.partial(branch_std, config),
        activation=config.activation,
    )
