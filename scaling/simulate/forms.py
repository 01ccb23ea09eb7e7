"""Truths of other forms than Chinchilla's law: expected loss in nats a token by parameters and tokens.

Each is a frozen dataclass with `loss(n_params, n_tokens)`, arrays that broadcast; FLOPs are 6·N·D.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from scaling.simulate.truth import LR_CURVATURE


class Form(Protocol):
    """A truth: the expected loss of runs of these sizes and tokens."""

    def loss(self, n_params: np.ndarray, n_tokens: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Farseer:
    """exp(s N^q + S) + exp(B N^b + Q - exp(A N^a + E) ln D): Li et al. 2025 (arXiv 2506.10972).

    Tokens count for less and less in larger models: their exponent, exp(A N^a + E), falls for A < 0.
    """

    s: float
    q: float
    S: float
    B: float
    b: float
    Q: float
    A: float
    a: float
    E: float

    def loss(self, n_params: np.ndarray, n_tokens: np.ndarray) -> np.ndarray:
        of_size = np.exp(self.s * n_params**self.q + self.S)
        exponent = np.exp(self.A * n_params**self.a + self.E)
        return of_size + np.exp(self.B * n_params**self.b + self.Q - exponent * np.log(n_tokens))


@dataclass(frozen=True)
class Skaling:
    """E + (A / N^alpha + B / D^beta)^k: Videau et al. 2026 (arXiv 2608.07222). k = 1 is Chinchilla's law."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    k: float

    def loss(self, n_params: np.ndarray, n_tokens: np.ndarray) -> np.ndarray:
        return self.E + (self.A / n_params**self.alpha + self.B / n_tokens**self.beta) ** self.k


@dataclass(frozen=True)
class Drifting:
    """Chinchilla's law whose exponents change with scale, linearly in the logarithm of size and of tokens.

    At `n_params` and `n_tokens` the terms are `of_size` and `of_tokens` and the exponents alpha and beta; a
    decade further they are alpha (1 + drift_alpha) and beta (1 + drift_beta). Exponents that change with
    scale are what Li et al. 2025 (arXiv 2506.10972) report.
    """

    E: float
    of_size: float
    of_tokens: float
    alpha: float
    beta: float
    n_params: float
    n_tokens: float
    drift_alpha: float
    drift_beta: float

    def loss(self, n_params: np.ndarray, n_tokens: np.ndarray) -> np.ndarray:
        log_n, log_d = np.log(n_params / self.n_params), np.log(n_tokens / self.n_tokens)
        fallen_n = self.alpha * (log_n + self.drift_alpha * log_n**2 / (2 * np.log(10)))
        fallen_d = self.beta * (log_d + self.drift_beta * log_d**2 / (2 * np.log(10)))
        return self.E + self.of_size * np.exp(-fallen_n) + self.of_tokens * np.exp(-fallen_d)


@dataclass(frozen=True)
class Broken:
    """Another form whose reducible loss turns smoothly into another power of compute.

    Above E it is multiplied by ((1 + (C/d)^(1/f)) / (1 + (C0/d)^(1/f)))^(-c f): Caballero et al. 2022 (arXiv
    2210.14891), eq. 1 with one break, at d FLOPs, f natural logarithms wide, whose exponent is larger by c
    beyond it. At C0 = `flops` the loss is that of the form.
    """

    form: Form
    E: float
    c: float
    d: float
    f: float
    flops: float

    def loss(self, n_params: np.ndarray, n_tokens: np.ndarray) -> np.ndarray:
        def turned(flops):
            return np.logaddexp(0.0, np.log(flops / self.d) / self.f) * self.f

        by = np.exp(-self.c * (turned(6.0 * n_params * n_tokens) - turned(self.flops)))
        return self.E + (self.form.loss(n_params, n_tokens) - self.E) * by


@dataclass(frozen=True)
class Mistuned:
    """Another form, with learning rates that are right at `flops` and wrong by e^off a decade from there.

    A learning rate x natural logarithms beside its best costs LR_CURVATURE · x² of the log loss. Published
    laws of the best learning rate (in arXiv 2401.02954, 2409.19913, 2503.04715) differ by 0.1 to 0.4 natural
    logarithms a decade of compute: so far off is a table whose runs follow the wrong one.
    """

    form: Form
    off: float
    flops: float

    def loss(self, n_params: np.ndarray, n_tokens: np.ndarray) -> np.ndarray:
        wrong = self.off * np.log10(6.0 * n_params * n_tokens / self.flops)
        return self.form.loss(n_params, n_tokens) * np.exp(LR_CURVATURE * wrong**2)


@dataclass(frozen=True)
class Starved:
    """Another form, of runs with too few steps: D tokens in batches of B teach as D / (1 + B / B_crit) do.

    McCandlish et al. 2018 (arXiv 1812.06162): the tokens that a loss needs grow by the factor 1 + B / B_crit.
    B / B_crit is `share` at `n_tokens` and goes as D^power. B_crit goes as about D^0.5 (arXiv 2410.21676), so
    power is -0.5 with one batch for all runs, whose small ones are starved, and 0.5 with the same number of
    steps for all, whose large ones are.
    """

    form: Form
    share: float
    n_tokens: float
    power: float

    def loss(self, n_params: np.ndarray, n_tokens: np.ndarray) -> np.ndarray:
        over_critical = self.share * (n_tokens / self.n_tokens) ** self.power
        return self.form.loss(n_params, n_tokens / (1 + over_critical))
