"""Kinds of worlds, of which a seed draws one: a truth, and the noise of runs in it.

Parameters are drawn around published ones, at a point of the frontier: the compute-optimal run of `flops`,
with 6 to 50 tokens a parameter. Form by form:

  chinchilla  exponents .25 to .45, irreducible share .45 to .75 (Hoffmann et al. 2022, arXiv 2203.15556)
  farseer     Li et al. 2025 (arXiv 2506.10972). Their nine coefficients are of bits a character; those here
              are chosen: a loss of 2 to 4 nats that falls by 4 to 6.5 % for each factor e of compute; outer
              exponents q .1 to .2, b -.12 to -.08, a .08 to .14; tokens' exponent is .25 to .4 and falls
              by .1 to .25 for each factor e of size; tokens are worth more to larger models
  skaling     k .3 to .45, inner exponents .3 to .6, loss as above (Videau et al. 2026, arXiv 2608.07222)
  broken      Chinchilla's, its exponent of compute (.15) by up to .05 larger or smaller beyond a break that
              lies between 30 times less and 10 times more than `flops` (arXiv 2210.14891)
  drifting    Chinchilla's, each exponent changing by -12 to +6 % a decade
  mistuned    Chinchilla's, the learning rate off by .1 to .4 natural logarithms for each decade from where it
              was tuned, 0 to 2 decades below `flops`
  starved     Chinchilla's, the batch 2 to 15 % of the critical one there, and more towards one end
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling.simulate import forms
from scaling.simulate.truth import random_truth

TOP = 1e19  # FLOPs of the largest run fitted
WINDOW = 3.0  # log units of size around N = D / 20, in which the best size is sought


@dataclass(frozen=True)
class World:
    """A truth and its noise.

    Attributes:
      kind: of WORLDS.
      form: the expected loss.
      noise: standard deviation of log loss from seed to seed.
    """

    kind: str
    form: forms.Form
    noise: float

    def best_size(self, flops) -> np.ndarray:
        """Compute-optimal N at these FLOPs, 6·N·D."""
        return _best_size(self.form, flops)

    def measure(self, n_params: np.ndarray, n_tokens: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
        """A table of these runs: n_params, n_tokens, loss with the noise of one seed each."""
        loss = self.form.loss(n_params, n_tokens) * np.exp(self.noise * rng.standard_normal(len(n_params)))
        return pd.DataFrame({"n_params": n_params, "n_tokens": n_tokens, "loss": loss})


def draw(kind: str, seed: int, flops: float = TOP) -> World:
    """The world of this kind and seed, around the frontier at these FLOPs; noise is 0.2 to 0.5 %.

    Raises:
      ValueError: there is no such kind.
    """
    if kind not in WORLDS:
        raise ValueError(f"no simulated world {kind!r}; there are {', '.join(WORLDS)}")
    rng = np.random.default_rng([seed, *kind.encode()])
    return World(kind, WORLDS[kind](rng, flops), float(10 ** rng.uniform(-2.7, -2.3)))


def _best_size(form: forms.Form, flops) -> np.ndarray:
    """The best of sizes 1 % apart, e^±WINDOW around N = D / 20."""
    flops = np.asarray(flops, float)
    log_n = np.log(np.sqrt(flops / 120))[..., None] + np.arange(-WINDOW, WINDOW, 0.01)
    losses = form.loss(np.exp(log_n), flops[..., None] / 6 / np.exp(log_n))
    best = np.argmin(losses, axis=-1, keepdims=True)
    return np.exp(np.take_along_axis(log_n, best, axis=-1)[..., 0])


def _point(rng: np.random.Generator, flops: float) -> tuple[float, float, float, float]:
    """(n_params, n_tokens, loss, slope): of the frontier's run; the slope is -d log loss / d log FLOPs."""
    n_params = float(np.sqrt(flops / 6 / 10 ** rng.uniform(0.8, 1.7)))
    return n_params, flops / 6 / n_params, float(rng.uniform(2.0, 4.0)), float(rng.uniform(0.04, 0.065))


def _farseer(rng: np.random.Generator, flops: float) -> forms.Farseer:
    """Drawn again where some compute within three decades has no best size, as for most choices by chance."""
    ladder = flops * 10.0 ** np.arange(-3, 4)
    while True:
        form = _any_farseer(rng, flops)
        off = np.log(_best_size(form, ladder) / np.sqrt(ladder / 120))
        if np.abs(off).max() < WINDOW - 0.5:
            return form


def _any_farseer(rng: np.random.Generator, flops: float) -> forms.Farseer:
    n, d, loss, slope = _point(rng, flops)
    q, b, a = rng.uniform(0.1, 0.2), rng.uniform(-0.12, -0.08), rng.uniform(0.08, 0.14)
    beta, falls = rng.uniform(0.25, 0.4), rng.uniform(0.1, 0.25)
    # The slope by tokens, beta · V, has to grow by `more` a factor e of size; V itself then does by `grows`.
    more = rng.uniform(0.03, 0.15)
    grows = more + falls
    of_tokens = loss * slope / beta  # V: on the frontier the slope by compute is the slope by tokens …
    of_size = loss - of_tokens
    by_size = of_tokens * (beta + grows) / of_size  # … and the slope by size, of both terms, is as large
    s, A = -by_size / (q * n**q), -falls / (a * n**a)
    B = (grows - falls * beta * np.log(d)) / (b * n**b)
    E = np.log(beta) - A * n**a
    Q = np.log(of_tokens) + beta * np.log(d) - B * n**b
    return forms.Farseer(s, q, np.log(of_size) - s * n**q, B, b, Q, A, a, E)


def _skaling(rng: np.random.Generator, flops: float) -> forms.Skaling:
    n, d, loss, slope = _point(rng, flops)
    k, (alpha, beta) = rng.uniform(0.3, 0.45), rng.uniform(0.3, 0.6, 2)
    reducible = loss * float(np.clip(slope * (alpha + beta) / (k * alpha * beta), 0.4, 0.97))
    inner = reducible ** (1 / k)
    of_size, of_tokens = inner * beta / (alpha + beta), inner * alpha / (alpha + beta)
    return forms.Skaling(loss - reducible, of_size * n**alpha, of_tokens * d**beta, alpha, beta, k)


def _broken(rng: np.random.Generator, flops: float) -> forms.Broken:
    plain, c = random_truth(rng, flops), rng.uniform(-0.05, 0.05)
    d, f = flops * 10 ** rng.uniform(-1.5, 1.0), rng.uniform(0.3, 1.5)
    return forms.Broken(plain, plain.E, c, d, f, flops)


def _drifting(rng: np.random.Generator, flops: float) -> forms.Drifting:
    plain, drift = random_truth(rng, flops), rng.uniform(-0.12, 0.06, 2)
    n = float(plain.best_size(flops))
    d = flops / 6 / n
    of_size, of_tokens = plain.A / n**plain.alpha, plain.B / d**plain.beta
    return forms.Drifting(plain.E, of_size, of_tokens, plain.alpha, plain.beta, n, d, *drift)


def _mistuned(rng: np.random.Generator, flops: float) -> forms.Mistuned:
    plain = random_truth(rng, flops)
    return forms.Mistuned(plain, rng.uniform(0.1, 0.4), flops / 10 ** rng.uniform(0.0, 2.0))


def _starved(rng: np.random.Generator, flops: float) -> forms.Starved:
    plain, share = random_truth(rng, flops), 10 ** rng.uniform(-1.7, -0.8)
    power = rng.uniform(0.2, 0.6) * rng.choice([-1, 1])
    return forms.Starved(plain, share, flops / 6 / float(plain.best_size(flops)), power)


WORLDS: dict[str, Callable[[np.random.Generator, float], forms.Form]] = {
    "chinchilla": random_truth,
    "farseer": _farseer,
    "skaling": _skaling,
    "broken": _broken,
    "drifting": _drifting,
    "mistuned": _mistuned,
    "starved": _starved,
}
