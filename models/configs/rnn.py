"""Recurrent sequence-to-sequence networks: the last hidden states of an encoder start a decoder.

The configuration, exact counts, and the ladder of sizes.
"""

from dataclasses import dataclass, field
from typing import Literal

from models.configs import transformer
from models.configs.counting import Counts, Part, itemsize
from models.configs.layers import CELL_SIZES
from models.configs.model_config import Dtype, check_dtype, check_sizes


@dataclass(frozen=True)
class RNNConfig:
    """Seq2seq recurrent network: an encoder, its last hidden state handed to a decoder.

    With `attention` the decoder also looks back at all encoder states (Luong et al. 2015). `pad_id` is the
    token that a source is padded with: where no mask is given, the encoder skips it (None: it reads all).
    """

    vocab_size: int
    d_model: int
    n_layers: int
    cell: Literal["gru", "lstm"] = "gru"
    attention: bool = True
    dtype: Dtype = "float32"
    remat: bool = False
    family: Literal["rnn"] = "rnn"
    pad_id: int | None = field(default=None, metadata={"later": True})  # left out of the JSON where None

    def __post_init__(self):
        check_sizes("model", self, "vocab_size", "d_model", "n_layers")
        check_dtype(self.dtype)


Config = RNNConfig


def count(config: RNNConfig) -> Counts:
    """Parameters and FLOPs by component.

    FLOPs are those of language modelling (`experiments.training.loss`): of a row of T tokens the first T/2
    are the source and the rest the target, and the row's FLOPs are spread over all T: half of the tokens pass
    the encoder, half the decoder and the head, and attention meets T/2 states. Every parameter counts as
    active.
    The cache is that of a source as long as the target, with a byte a source token for its mask.
    """
    d, v, (n_gates, n_states) = config.d_model, config.vocab_size, CELL_SIZES[config.cell]
    stack = Part(n_gates * d * (2 * d + 1), flops=2 * n_gates * d * d) * config.n_layers
    parts = {
        "embedding": Part(v * d, looked_up=v * d),
        "encoder": stack,
        "decoder": stack,
        "attention": Part(2 * d * d, flops=2 * d * d, context_flops=d) * config.attention,
        "combine": Part(d * d, flops=d * d),
        "head": Part(v * d, flops=v * d),
    }
    cache = ((4 * n_states * d, 1),) * config.n_layers
    cache += ((itemsize(config) * d + 1, 0),) * config.attention
    return Counts(parts, cache, again=stack + stack)


def ladder(d_model: int, vocab_size: int) -> RNNConfig:
    """As many layers of GRU in the encoder, and in the decoder, as the transformer has: the parameters are
    the transformer's, and the attention's.
    """
    return RNNConfig(vocab_size, d_model, n_layers=transformer.ladder(d_model, vocab_size).n_layers)
