"""The decoder-only transformer with a mixture of experts for each feed-forward layer.

Exact counts, and the ladder of sizes; the configuration is the transformer's.
"""

from dataclasses import replace

from models.configs import transformer
from models.configs.counting import Counts, Part
from models.configs.layers import Experts
from models.configs.transformer import TransformerConfig

Config = TransformerConfig  # with `experts`


def count(config: TransformerConfig) -> Counts:
    """Parameters and FLOPs by component.

    `wasted_flops` are the slots that capacity provides beyond top_k a token, rounding of the capacity aside:
    negative where capacity_factor is below 1 and not all choices can be computed. Without drops they depend
    on the batch, a block of slots an expert at most, and are not counted.
    """
    experts, d = experts_of(config), config.d_model
    layers = config.n_layers - len(experts.dense_layers)
    n, k, each = experts.n_experts, experts.top_k, 3 * d * experts.d_expert
    own = each + (2 * experts.d_expert + d) * experts.biases
    slots = min(experts.capacity_factor * k, n) if experts.dispatch == "capacity" else k
    mixture = Part(n * own, idle=(n - k) * own, flops=2 * k * each, wasted_flops=2 * (slots - k) * each)
    shared = 3 * d * experts.d_shared + d * bool(experts.d_shared and experts.shared_gate)
    counts = transformer.count(config)
    parts = {name: part for name, part in counts.parts.items() if name != "mlp" or experts.dense_layers} | {
        "router": Part(d * n + n * (experts.biases + experts.choice_bias), flops=2 * d * n) * layers,
        "experts": mixture * layers,
        "shared": Part(shared, flops=2 * shared) * layers,
    }
    last = Part(0, flops=mixture.flops // 3, wasted_flops=mixture.wasted_flops / 3)
    if not experts.shared_gate:  # a gate's gradient depends on what it scales
        last = last + Part(0, flops=2 * d * experts.d_shared)
    again = counts.again + parts["router"] + parts["experts"] + parts["shared"]
    again = again + last * -layers if config.norm_position == "pre" else again
    return replace(counts, parts=parts, again=again)


def experts_of(config: TransformerConfig) -> Experts:
    """Those that every configuration of this family has."""
    if config.experts is None:  # TransformerConfig refuses it
        raise ValueError("model: family='moe' without experts")
    return config.experts


def ladder(d_model: int, vocab_size: int) -> TransformerConfig:
    """The transformer with 8 experts of half its feed-forward width, of which a token passes two: its active
    parameters are the transformer's, and the router's.
    """
    like = transformer.ladder(d_model, vocab_size)
    return replace(like, family="moe", experts=Experts(n_experts=8, top_k=2, d_expert=like.d_ff // 2))
