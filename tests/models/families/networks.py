"""Small configurations of every family that differ in what tests are about, and parameters for them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models import (
    FAMILIES,
    EncDecConfig,
    Experts,
    Latent,
    RNNConfig,
    RopeScaling,
    RWKV4Config,
    RWKV7Config,
    TransformerConfig,
    ladder,
)

VOCAB = 61
DENSE: Any = dict(vocab_size=VOCAB, d_model=16, n_layers=3, n_heads=4, n_kv_heads=2, d_head=6, d_ff=24)
MIXTURE = functools.partial(TransformerConfig, VOCAB, 12, 2, 2, 1, 6, 24, family="moe")
# Variants of a family that differ in what the contract is about; a family without any has its ladder's model.
VARIANTS = {
    "transformer": {
        "llama": TransformerConfig(**DENSE, rope_scaling=RopeScaling("llama3", 8.0, original_len=16)),
        "mqa-tied": TransformerConfig(**DENSE | {"n_kv_heads": 1}, tied_embeddings=True, embedding_scale=4.0),
        "gpt2": TransformerConfig(
            **DENSE | {"n_kv_heads": 4},
            tied_embeddings=True,
            positions="learned",
            max_len=16,
            norm="layer",
            gated=False,
            activation="gelu_tanh",
            qkv_bias=True,
            output_bias=True,
            mlp_bias=True,
        ),
        "mistral": TransformerConfig(**DENSE, windows=(3,), positions="sinusoidal", weight_bits=6),
        "qwen3": TransformerConfig(**DENSE, qk_norm="head", positions="none"),
        "olmo2": TransformerConfig(**DENSE, qk_norm="width", norm_position="post"),
        "gemma2": TransformerConfig(  # three layers of two kinds: the last cycle is cut short
            **DENSE,
            windows=(4, 0),
            norm_position="both",
            attention_softcap=5.0,
            logit_softcap=3.0,
            activation="gelu_tanh",
            attention_scale=0.3,
        ),
        "gemma3-smollm3": TransformerConfig(  # a local rope, a stretched one, and none
            **DENSE,
            windows=(4, 0, 0),
            rope_layers=(True, True, False),
            rope_scaling=RopeScaling("linear", 4.0),
            local_rope_theta=100.0,
            rope_width=4,
        ),
    },
    "moe": {
        "shared": MIXTURE(experts=Experts(5, 2, 8, capacity_factor=0.4, d_shared=6)),
        # One row's choices are fewer than 16 experts: decoding fetches the chosen ones only.
        "many": MIXTURE(experts=Experts(16, 2, 8, capacity_factor=0.5)),
        "gpt-oss": MIXTURE(
            experts=Experts(5, 2, 8, capacity_factor=0.4, biases=True),
            sinks=True,
            windows=(4, 0),
            activation="clamped_swiglu",
        ),
        "deepseek": TransformerConfig(
            *(VOCAB, 12, 3, 2, 2, 6, 24),
            experts=Experts(
                *(6, 2, 8, 6),
                capacity_factor=0.4,
                dense_layers=(0,),
                scores="sigmoid",
                choice_bias=True,
                n_groups=3,
                top_groups=2,
                scale=1.5,
            ),
            latent=Latent(kv_rank=5, d_rope=2, d_value=4, q_rank=7),
            family="moe",
        ),
        "dense-first": TransformerConfig(
            *(VOCAB, 12, 3, 2, 1, 6, 24),
            experts=Experts(5, 2, 8, capacity_factor=0.4, dense_layers=(0,)),
            windows=(0, 6),
            family="moe",
        ),
    },
    "encdec": {
        "t5": EncDecConfig(
            *(VOCAB, 16, 2, 1, 2, 6, 24),
            gated=False,
            activation="relu",
            tied_embeddings=True,
            n_buckets=8,
            max_distance=10,
        ),
        "t5-1.1": EncDecConfig(VOCAB, 24, 1, 3, 4, 6, 40, n_buckets=6, max_distance=9),
    },
    "rnn": {
        "gru": RNNConfig(VOCAB, 12, 2, cell="gru"),
        "lstm": RNNConfig(VOCAB, 8, 3, cell="lstm"),
        "no-attention": RNNConfig(VOCAB, 8, 2, cell="gru", attention=False),
    },
    "rwkv4": {"rwkv4": RWKV4Config(VOCAB, 16, 3, d_attention=12, d_ff=24)},
    "rwkv7": {"rwkv7": RWKV7Config(VOCAB, 16, 3, 8, 24, 3, 4, 5, 6, chunk=4)},
}
CONFIGS = {
    f"{family}-{name}": config
    for family in FAMILIES
    for name, config in VARIANTS.get(family, {"ladder": ladder(16, VOCAB, family)}).items()
}


def drawn(model):
    """Parameters with nothing at 0 or 1, where mistakes do not show; quicker than compiling `init`."""
    normal = np.random.default_rng(0).standard_normal

    def one(path, shape):
        return jnp.asarray(0.25 * normal(shape.shape, np.float32) + ("scale" in path[-1].key))

    return jax.tree.map_with_path(one, jax.eval_shape(model.init, jax.random.key(0)))
