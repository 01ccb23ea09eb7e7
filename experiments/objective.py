"""An objective: what a run minimises and on what, as functions; what differs between pretraining, supervised
fine-tuning, reward modelling and reinforcement learning. All else of training is one loop for all of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

Measured = dict[str, jax.Array]


def whole(fresh: Any, start: Any) -> Any:
    """The start's parameters, for an objective that adds nothing to the network."""
    return start


@dataclass(frozen=True)
class Objective:
    """One algorithm on one network. `batch` is what `RunData` gives, or what `collect` made of it.

    init(key) -> params: the whole tree of parameters that `loss` reads, freshly made.
    axes: a tree of `models.parameters.Axes` like params.
    loss(params, batch, hyper) -> (loss, (weight, measured)): the loss is a mean over `weight` units (tokens,
      pairs), and `measured` holds scalars that are means over the same. So micro-batches of unequal weights
      add up to the whole batch's gradient: Σ w ∇loss / Σ w.
    measure(params, batch, hyper, fixed) -> measurements of each row, float32[B], of validation: "loss", and
      "weight" where rows do not all weigh the same. "texts", if there, are what was said: a dict of "tokens"
      int32[B,T], prompts and responses, and "prompt_lengths" and "lengths" int32[B] (of both together).
    collect(params, batch, hyper, fixed) -> (experience, measured): what is computed once a step and without
      gradient (rollouts, advantages, reference log-probabilities); `loss` takes the experience as its batch.
    epochs, minibatches: passes over the experience, each in so many optimizer updates.
    place(fresh, start) -> params: fresh parameters with those of the checkpoint a run starts from.
    network(params) -> the parameters of the language model among them.
    new: patterns of what `place` leaves fresh; always trained.
    fixed: names of the parameters, besides those that are trained, that `collect` and `measure` read from
      `fixed`: "reference" (those at the start), "reward" (a reward model's).
    limits: a measured number that reaches its limit has diverged, as has one that is not finite.
    cost: FLOPs of a step, in forward and backward passes over all rows.
    adapt(params, measured, hyper) -> params: after the updates of a step, what changes not by gradients:
      of parameters that are `new`, such as the coefficient of an adaptive KL term.
    """

    init: Callable[[jax.Array], Any]
    axes: Any
    loss: Callable[[Any, Any, dict[str, jax.Array]], tuple[jax.Array, tuple[Any, Measured]]]
    measure: Callable[[Any, Any, dict[str, jax.Array], Any], Measured]
    collect: Callable[[Any, Any, dict[str, jax.Array], Any], tuple[Any, Measured]] | None = None
    epochs: int = 1
    minibatches: int = 1
    place: Callable[[Any, Any], Any] = whole
    network: Callable[[Any], Any] = field(default=lambda params: params)
    new: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    limits: dict[str, float] = field(default_factory=dict)
    cost: float = 1.0
    adapt: Callable[[Any, Measured, dict[str, jax.Array]], Any] | None = None


@dataclass(frozen=True)
class Components:
    """The k components of mixed data, in one order: their names, windows that may be read, tokens per byte of
    their validation text, and `rows_until(n)`, int[k]: how many of the first n training rows are of each.

    Row r of validation, counted over all batches, is of component r modulo k.
    """

    names: tuple[str, ...]
    n_windows: tuple[int, ...]
    tokens_per_byte: tuple[float, ...]
    rows_until: Callable[[int], Any]


@dataclass(frozen=True)
class RunData:
    """What a run trains on and is validated on.

    training(seed, step, rows) -> the batch's rows: a tree of arrays [rows, …], a pure function; steps count
      from 0 and `rows` is a slice of 0 … batch_size.
    validation: batches of the same form; the leading eighth shows the curve, all of them the end.
    tokens_per_byte: of the validation text, where the loss is one of text; else 0.
    n_train_tokens: distinct tokens that it may train on.
    tokens_an_epoch: of `n_tokens`, those that go through the data once.
    manifest: task, source, licence, tokenizer and splits, for the run's row.
    components: of mixed data; None: there are none.
    """

    training: Callable[[int, int, slice], Any]
    validation: Sequence[Any]
    tokens_per_byte: float
    n_train_tokens: int
    tokens_an_epoch: float
    manifest: dict[str, Any]
    components: Components | None = None
