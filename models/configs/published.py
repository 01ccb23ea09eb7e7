"""The shapes of published models, by name."""

from typing import Any

from models.configs.layers import Experts
from models.configs.model_config import ModelConfig
from models.configs.transformer import TransformerConfig


def llama(
    d_model: int, n_layers: int, n_heads: int, d_ff: int, vocab_size: int, **more: Any
) -> TransformerConfig:
    """A Llama-shaped model; heads of d_model / n_heads, each with its own keys; `more` may differ.

    Args:
      d_model, n_layers, n_heads, d_ff, vocab_size: the sizes.
      more: fields of the configuration that differ.
    """
    sizes: dict[str, Any] = {"n_kv_heads": n_heads, "d_head": d_model // n_heads} | more
    return TransformerConfig(vocab_size, d_model, n_layers, n_heads, d_ff=d_ff, **sizes)


def gpt2(d_model: int, n_layers: int, n_heads: int) -> TransformerConfig:
    """A model of the GPT-2 family (Radford et al. 2019)."""
    return llama(
        *(d_model, n_layers, n_heads, 4 * d_model, 50_257),
        tied_embeddings=True,
        positions="learned",
        max_len=1024,
        norm="layer",
        norm_eps=1e-5,
        qkv_bias=True,
        output_bias=True,
        mlp_bias=True,
        gated=False,
        activation="gelu_tanh",
    )


MIXTRAL = Experts(8, 2, 14_336, dispatch="dropless", balance_loss=0.02, z_loss=0.0)

# llama-60m is of Lialin et al. 2023 (arXiv 2307.05695); the llamas from there to 7b are the sizes of
# benchmarks/experiments/train_step.py on a GPU.
PUBLISHED: dict[str, ModelConfig] = {
    "gpt2-small": gpt2(768, 12, 12),
    "gpt2-medium": gpt2(1024, 24, 16),
    "gpt2-large": gpt2(1280, 36, 20),
    "gpt2-xl": gpt2(1600, 48, 25),
    "llama-60m": llama(512, 8, 8, 1376, 32_000),
    "llama-125m": llama(768, 12, 12, 2048, 32_000),
    "llama-350m": llama(1024, 24, 16, 2816, 32_000),
    "llama-1b": llama(2048, 24, 16, 5504, 32_000),
    "llama-7b": llama(4096, 32, 32, 11_008, 32_000),
    "llama-3-8b": llama(4096, 32, 32, 14_336, 128_256, n_kv_heads=8, rope_theta=500_000.0, norm_eps=1e-5),
    "mistral-7b": llama(4096, 32, 32, 14_336, 32_000, n_kv_heads=8, norm_eps=1e-5, windows=(4096,)),
    "mixtral-8x7b": llama(
        *(4096, 32, 32, 14_336, 32_000),
        n_kv_heads=8,
        norm_eps=1e-5,
        rope_theta=1e6,
        experts=MIXTRAL,
        family="moe",
    ),
}
