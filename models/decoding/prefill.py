"""The first pass over prompts of any lengths, and rows taken from the cache that it leaves.

Of prompts that begin alike the beginning can be read once; what follows then goes through the network token
by token, as in decoding, for all prompts side by side. That serves every decoder, and pays where the
beginning is longer than the rest. The numbers are those of prompts that are read whole, but for rounding.
"""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from models.model import Model
from models.one_row import in_one_row

Weights = Literal["float32", "int8"]


def prefill(model: Model, params: Any, texts: Sequence[Sequence[int]], room: int) -> tuple[jax.Array, Any]:
    """Next-token logits [P,V] of each text, and a cache with room for `room` more tokens.

    P and the lengths are rounded up to powers of two; rows beyond the texts hold nothing of use. A network
    with an encoder reads the text as its source, whose last token starts the decoder, as in training.

    Args:
      params: the network's, packed or not.
      texts: token ids, at least one a text.
      room: tokens that are to be decoded after the longest text.
    """
    longest = max(map(len, texts))
    return prefill_padded(model, params, *padded(texts, bucket(longest)), slots(longest + room))


def padded(texts: Sequence[Sequence[int]], n_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts as rows of `n_tokens` [P,T], and their lengths [P]; spare rows have length 1."""
    tokens_PT = np.zeros((bucket(len(texts), least=1), n_tokens), np.int32)
    lengths_P = np.ones(len(tokens_PT), np.int32)
    for i, text in enumerate(texts):
        tokens_PT[i, : len(text)], lengths_P[i] = text, len(text)
    return tokens_PT, lengths_P


def bucket(size: int, least: int = 16) -> int:
    """`size` rounded up to a power of two, at least `least`."""
    return max(least, 1 << (size - 1).bit_length())


def slots(size: int) -> int:
    """`size` rounded up a little: a step of decoding may read all slots of a cache.

    Of short texts by up to 63: a second of compiling pays for many steps that read so many more.
    """
    step = max(64, bucket(size) // 8)
    return -(-size // step) * step


def packed(model: Model, params: Any, weights: Weights = "float32") -> Any:
    """`params` with the copy of weights that `model.decode` reads faster on a CPU; elsewhere as they are.

    Args:
      params: the network's; packed ones stay what they are.
      weights: in "int8", every token after a prompt is decoded with weights of 8 bits, and numbers that they
        are multiplied with rounded to 8 bits (`models.layers.int8`); prompts are read with those of training.

    Raises:
      ValueError: "int8" for a network that does not decode so, or elsewhere than on a CPU.
    """
    if weights == "int8":
        _check_int8(model)
    if model.pack is None or "packed" in params or jax.default_backend() != "cpu":
        return params
    pack = functools.partial(model.pack, int8=True) if weights == "int8" else model.pack
    return params | {"packed": jax.jit(pack)(params)}


def _check_int8(model: Model) -> None:
    if model.pack is None:
        raise ValueError(f"int8 weights: family={model.config.family!r}; only transformers decode with them")
    if jax.default_backend() != "cpu":
        raise ValueError(f"int8 weights: this is a {jax.default_backend()}; only on CPUs are they faster")


def take_rows(cache: Any, rows_B: jax.Array | np.ndarray) -> Any:
    """The cache of these rows, which may repeat; leaves are [L,P,…], or [P] as the lengths are."""
    return jax.tree.map(lambda leaf: jnp.take(leaf, rows_B, axis=min(1, leaf.ndim - 1)), cache)


@functools.partial(jax.jit, static_argnums=(0, 4))
def prefill_padded(model: Model, params: Any, tokens_PT, lengths_P, max_len: int) -> tuple[jax.Array, Any]:
    """`prefill` of padded texts, into a cache with room for `max_len` tokens.

    Args:
      params: the network's, packed or not.
      tokens_PT, lengths_P: int32, of `padded`.
      max_len: tokens that the cache has room for; static.
    """
    return in_one_row(model).prefill(params, tokens_PT, lengths_P, max_len)


def n_shared(texts: Sequence[list[int]]) -> int:
    """How many tokens all texts begin with, of each but its last; 0 where more follow them in some text."""
    first, last = min(texts), max(texts)  # in the order of a dictionary: what these share, all do
    n = next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), len(first))
    n = min(n, min(map(len, texts)) - 1)
    return n if n >= max(map(len, texts)) - n else 0


def prefill_shared(
    model: Model, params: Any, texts: Sequence[Sequence[int]], n_same: int, max_len: int
) -> tuple[jax.Array, Any]:
    """Next-token logits [P,V] of texts, the first tokens of which are the same, and a cache.

    Args:
      model: a decoder.
      params: the network's, packed or not.
      texts: token ids.
      n_same: how many are the same, at least 1 and less than any text has.
      max_len: tokens that the cache has room for.
    """
    _, cache = prefill_padded(model, params, *padded([texts[0][:n_same]], bucket(n_same)), max_len)
    rests = [text[n_same:] for text in texts]
    tokens_PS, lengths_P = padded(rests, bucket(max(map(len, rests))))
    return _read_on(model, params, take_rows(cache, np.zeros(len(tokens_PS), np.int32)), tokens_PS, lengths_P)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def _read_on(model: Model, params: Any, cache: Any, tokens_PS: jax.Array, lengths_P: jax.Array):
    """Logits and cache after the first lengths[p] of each row's tokens."""

    def step(s, carry):
        read_P = s < lengths_P

        def kept(new, old):
            """The new in rows that have a token here; leaves are [P], or [L,P,…]."""
            return jnp.where(read_P.reshape(-1, *[1] * (new.ndim - 2)), new, old)

        logits_PV, cache = model.decode(params, tokens_PS[:, s], carry[1])
        return jnp.where(read_P[:, None], logits_PV, carry[0]), jax.tree.map(kept, cache, carry[1])

    nothing_PV = jnp.zeros((len(tokens_PS), model.config.vocab_size))
    return jax.lax.fori_loop(0, lengths_P.max(), step, (nothing_PV, cache))
