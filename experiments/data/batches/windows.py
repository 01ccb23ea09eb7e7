"""Batches as a pure function of (seed, step): resuming needs no replay, hosts need no coordination.

A split is cut into windows of seq_len + 1 tokens with stride seq_len, so that every token but the first is
predicted exactly once an epoch. Each epoch visits all windows in an order of its own, drawn by a keyed
permutation that is computed index by index (a Feistel network), never stored: O(1) memory whatever the size
of the corpus.
"""

import functools

import numpy as np

ROUNDS = 4  # enough for a strong pseudorandom permutation (Luby & Rackoff 1988)
# SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators").
GAMMA, MIX_1, MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
MASK = (1 << 64) - 1
FACTOR_1, FACTOR_2, HALF = np.uint64(MIX_1), np.uint64(MIX_2), np.uint64(32)


def batch(
    tokens: np.ndarray, seed: int, step: int, batch_size: int, seq_len: int, rows: slice = slice(None)
) -> np.ndarray:
    """Tokens int32[B, seq_len + 1] of one training step: inputs are [:, :-1], targets [:, 1:].

    Args:
      tokens: int[n_tokens], one split (may be memory-mapped).
      seed: of the order of windows.
      step: counts from 0; step s takes windows s * batch_size to (s + 1) * batch_size - 1 of the order.
      batch_size: rows of the whole batch, over all hosts.
      rows: the rows wanted here, for a host that holds a part of the batch.

    Raises:
      ValueError: the split is shorter than one window.
    """
    windows = shuffled(count_windows(len(tokens), seq_len), seed, step, batch_size)
    return take_windows(tokens, windows[rows], seq_len)


def shuffled(n: int, seed: int, step: int, batch_size: int) -> np.ndarray:
    """int64[batch_size]: which of n things the batch of a step holds, each once an epoch in an order of its
    own.

    Args:
      n: how many there are.
      seed: of the order.
      step: counts from 0; step s takes places s * batch_size to (s + 1) * batch_size - 1 of the order, which
        may reach into the next epoch, or over several.
      batch_size: of the whole batch, over all hosts.
    """
    start, end = step * batch_size, (step + 1) * batch_size
    chosen = []
    while start < end:
        epoch, first = divmod(start, n)
        k = min(end - start, n - first)
        chosen.append(permute(np.arange(first, first + k), n, seed, epoch))
        start += k
    return np.concatenate(chosen)


def take_windows(tokens: np.ndarray, windows: np.ndarray, seq_len: int) -> np.ndarray:
    """Tokens int32[len(windows), seq_len + 1] of the windows with these numbers, in the order of the text."""
    return tokens[windows[:, None] * seq_len + np.arange(seq_len + 1)].astype(np.int32)


def validation_batches(
    tokens: np.ndarray, batch_size: int, seq_len: int, n_val_tokens: int
) -> list[np.ndarray]:
    """The leading rows of the validation split, int32[B, seq_len + 1] each; rows that fill no batch are left
    out.

    Args:
      tokens: int[n_tokens], the split.
      batch_size: rows of a batch; fewer where there are not so many.
      seq_len: tokens that a row predicts.
      n_val_tokens: tokens to predict, at most.

    Raises:
      ValueError: fewer than two rows.
    """
    n_windows = min(count_windows(len(tokens), seq_len), n_val_tokens // seq_len)
    if n_windows < 2:
        raise ValueError(
            f"run: n_val_tokens={n_val_tokens} of {len(tokens)} validation tokens make "
            f"{n_windows} rows of seq_len={seq_len}; a loss with a standard error needs two"
        )
    size = min(batch_size, n_windows)
    starts = range(0, n_windows - size + 1, size)
    return [take_windows(tokens, np.arange(start, start + size), seq_len) for start in starts]


def count_windows(n_tokens: int, seq_len: int) -> int:
    """Windows of seq_len + 1 tokens in a split.

    Raises:
      ValueError: there is not even one.
    """
    if n_tokens <= seq_len:
        raise ValueError(
            f"the split has {n_tokens} tokens, less than one window of seq_len + 1 = {seq_len + 1}; "
            "use more text or a shorter seq_len"
        )
    return (n_tokens - 1) // seq_len


def epochs(n_tokens: int, n_trained: int, seq_len: int) -> float:
    """Times a run that trains on `n_trained` tokens goes through a split of `n_tokens`."""
    return n_trained / (count_windows(n_tokens, seq_len) * seq_len)


def permute(index: np.ndarray, n: int, seed: int, epoch: int) -> np.ndarray:
    """Images of `index` (int64[k]) under a pseudorandom permutation of range(n) fixed by (seed, epoch).

    An alternating Feistel network on a grid of a x b cells, a * b barely above n, with addition modulo a and
    b in place of XOR (Black & Rogaway 2002, "Ciphers with arbitrary finite domains"): each round is
    invertible whatever its hash, so the whole is a bijection of the grid. Images outside range(n) are mapped
    again until they are inside (cycle walking), which makes it one of range(n).

    Args:
      index: int64[k], each in range(n); of these alone the images are computed.
      n: size of the range.
      seed: any integer; with `epoch` it fixes the permutation.
      epoch: from 0.
    """
    a = int(np.ceil(np.sqrt(n)))
    b = -(-n // a)
    keys = _round_keys(seed, epoch)
    image = _feistel(index, a, b, keys)
    while (outside := image >= n).any():
        image[outside] = _feistel(image[outside], a, b, keys)
    return image


def _feistel(index: np.ndarray, a: int, b: int, keys: np.ndarray) -> np.ndarray:
    left, right = np.divmod(index.astype(np.uint64), np.uint64(b))
    for i in range(0, ROUNDS, 2):
        left = (left + _hash(right, keys[i])) % np.uint64(a)
        right = (right + _hash(left, keys[i + 1])) % np.uint64(b)
    return (left * np.uint64(b) + right).astype(np.int64)


def _hash(x: np.ndarray, key: np.uint64) -> np.ndarray:
    """32 well mixed bits of uint64 x under a 64-bit key; multiplication wraps."""
    x = (x + key) * FACTOR_1
    return ((x ^ (x >> HALF)) * FACTOR_2) >> HALF


@functools.lru_cache(maxsize=16)
def _round_keys(seed: int, epoch: int) -> np.ndarray:
    """uint64[ROUNDS]: SplitMix64 started from (seed, epoch)."""
    state = _mix(_mix(seed & MASK) + epoch)
    return np.array([_mix(state + (i + 1) * GAMMA) for i in range(ROUNDS)], np.uint64)


def _mix(x: int) -> int:
    """SplitMix64's finalizer on Python integers."""
    x = (x + GAMMA) & MASK
    x = ((x ^ (x >> 30)) * MIX_1) & MASK
    x = ((x ^ (x >> 27)) * MIX_2) & MASK
    return x ^ (x >> 31)
