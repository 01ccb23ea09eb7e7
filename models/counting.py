"""Exact counts of parameters and floating-point operations, by component."""

from dataclasses import dataclass

from models.config import TransformerConfig


@dataclass(frozen=True)
class Counts:
    """Parameters and FLOPs of a model, a component at a time.

    parameters: every leaf of the parameter tree, grouped; n_embed of them are only looked up.
    matmul_parameters: weights that each token is multiplied with.
    attention_width: Σ over layers of query heads × head size, the width in which tokens meet.
    """

    parameters: dict[str, int]
    n_embed: int
    matmul_parameters: int
    attention_width: int

    @property
    def n_total(self) -> int:
        """All parameters."""
        return sum(self.parameters.values())

    @property
    def n_params(self) -> int:
        """Parameters that are multiplied: everything but an embedding table that is only looked up."""
        return self.n_total - self.n_embed

    def forward_flops_per_token(self, seq_len: int) -> int:
        """Multiplications and additions of all matrix products of one forward pass, per token.

        Attention counts scores and values over all `seq_len` keys, as computed: the causal mask saves none.
        """
        return 2 * self.matmul_parameters + 4 * self.attention_width * seq_len

    def flops_per_token(self, seq_len: int) -> int:
        """Forward and backward FLOPs of training per token: the backward pass has twice the products.

        Recomputation (remat) is not counted: it is a choice of the machine, not of the model.
        """
        return 3 * self.forward_flops_per_token(seq_len)

    def cache_bytes(self, n_tokens: int, config: TransformerConfig) -> int:
        """Bytes of the key/value cache for one row of `n_tokens` slots in the compute type."""
        width = 2 * config.n_layers * config.n_kv_heads * config.d_head
        return n_tokens * width * {"float32": 4, "bfloat16": 2}[config.dtype]


def count(config: TransformerConfig) -> Counts:
    """Counts for a decoder-only transformer; tests hold them against the real tree and program."""
    layers, d = config.n_layers, config.d_model
    table = config.vocab_size * d
    attention = layers * d * config.d_head * 2 * (config.n_heads + config.n_kv_heads)
    mlp = layers * 3 * d * config.d_ff
    parameters = {
        "embedding": table,
        "attention": attention,
        "mlp": mlp,
        "norms": (2 * layers + 1) * d,
        "head": 0 if config.tied_embeddings else table,
    }
    return Counts(
        parameters=parameters,
        n_embed=0 if config.tied_embeddings else table,
        matmul_parameters=attention + mlp + table,
        attention_width=layers * config.n_heads * config.d_head,
    )
