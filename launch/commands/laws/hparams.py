"""Laws of the best learning rate and batch from sweeps, with intervals, and the setting for a new size.

TABLE has a row a run: n_params, n_tokens (or flops), loss, and lr, batch_tokens or both. Sizes with three
or more settings tried are used; diverged runs may be in. The penalty is the expected loss at the setting
given over that at the true optimum, minus 1. Runs of several parametrizations, optimizers, schedules or
families (columns of these names) have laws of their own. Where batches were swept, it is said whether the
rate rises with the tokens at the best batch and at one batch; where width, depth, tokens or batch vary on
their own (d_model, n_layers, n_tokens, batch_tokens), a joint law of the rate over all follows.

Example: isoflop hparams sweeps.csv --columns n_params=N,n_tokens=D,batch_tokens=bs --out hparams.json
Example: isoflop hparams sweeps.csv --params 7e9 --tokens 1.4e11
"""

import contextlib
import json
import math

from absl import flags

from launch.arguments.tables_and_fits import check_out, parse_columns
from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop hparams TABLE|DIR [flags]"
flags.DEFINE_list(
    "columns", [], "names in the table, for example n_params=N,lr=max_lr,batch_tokens=bs", flag_values=FLAGS
)
flags.DEFINE_float("params", None, "parameters of a model to set up", flag_values=FLAGS)
flags.DEFINE_float("tokens", None, "tokens it is to be trained on", flag_values=FLAGS)
flags.DEFINE_float(
    "batch", None, "a batch it is bound to; the rate is then the best for it", flag_values=FLAGS
)
flags.DEFINE_float("level", 0.9, "level of the intervals", flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "seed of the draws behind the intervals", 0, flag_values=FLAGS)
flags.DEFINE_string("out", None, "write the laws to this JSON file", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)


def run(args: list[str], flags) -> int:
    """Fits, writes with --out, and prints."""
    if len(args) != 1:
        raise ValueError(f"expected one table of runs or study directory, got {args}; usage: {USAGE}")
    if (flags.params is None) != (flags.tokens is None) or (flags.batch and flags.params is None):
        raise ValueError("--params and --tokens go together, and --batch with them")
    if not 0 < flags.level < 1:
        raise ValueError(f"--level {flags.level}; expected a share between 0 and 1, such as 0.9")
    check_out(flags.out)
    columns = parse_columns(flags.columns)
    prepare_process()  # before anything imports jax
    import scaling
    from experiments.files import write_atomic
    from scaling.hparams import fit_groups, fit_joint_lr
    from scaling.hparams.sweeps import apart

    runs = scaling.read_runs(args[0], columns)
    options = {"seed": flags.seed, "level": flags.level}
    kind, laws = fit_groups(runs, **options)
    joint = {}
    for name, own in apart(runs)[1].items():
        with contextlib.suppress(ValueError):  # too few sweeps
            found = fit_joint_lr(own, **options)
            if len(found.exponents) > 2:  # else the laws have said it
                joint[name] = found
    size = () if flags.params is None else (flags.params, flags.tokens, flags.batch)
    predicted = {name: law.predict(*size) if size else None for name, law in laws.items()}
    if flags.out:
        contents = {name: law.to_json() for name, law in laws.items()}
        write_atomic(flags.out, json.dumps(contents.get("", contents), allow_nan=False) + "\n")
    if flags.json:
        contents = {name: as_json(laws[name], predicted[name], joint.get(name)) for name in laws}
        print(json.dumps(contents.get("", contents), allow_nan=False))
    else:
        parts = []
        for name, law in laws.items():
            text = as_text(f"{kind} {name}".strip(), law, predicted[name], size)
            parts += [text, str(joint[name])] if name in joint else [text]
        print("\n\n".join(parts))
    return 0


def as_json(laws, predicted, joint) -> dict:
    """The laws without their draws, the setting, and the joint law where there is one."""
    from dataclasses import asdict

    from scaling.profiles.isoflop import nan_to_none

    content = laws.to_json()
    kept = ("axes", "params", "ci", "level", "lr_per_batch", "optima", "scatter", "noise", "notes")
    setting = {"setting": nan_to_none(asdict(predicted))} if predicted else {}
    more = {"joint": joint.to_json()} if joint else {}
    return {name: content[name] for name in kept} | setting | more


def as_text(name: str, laws, predicted, size: tuple) -> str:
    """Laws, optima and setting, a line each.

    Args:
      name: of the group, "" where there is but one.
      laws: `HparamLaws`.
      predicted: the `Setting` for a new size, or None.
      size: parameters, tokens and batch (tokens or None) of that, or ().
    """
    lines = [name] if name else []
    lines += [str(laws), ""]
    lines.append(f"{'params':>9}  {'tokens':>9}  {'runs':>5}  {'loss':>7}  {_heading(laws)}")
    for o in laws.optima:
        edges = [axis for axis, at_edge in (("lr", o.lr_at_edge), ("batch", o.batch_at_edge)) if at_edge]
        cells = [f"{o.n_params:9.4g}  {o.n_tokens:9.4g}  {o.n_runs:5d}  {o.loss:7.4f}", *_values(o)]
        lines.append("  ".join(cells) + (f"  {' and '.join(edges)} at the edge: a bound" if edges else ""))
    if predicted:
        cells = [f"{size[0]:9.4g}  {size[1]:9.4g}  {'':5}  {'':7}", *_values(predicted)]
        lines += ["", "  ".join(cells), f"expected penalty {predicted.penalty:.3%} of the loss"]
    return "\n".join([*lines, *(f"note: {note}" for note in laws.notes)])


def _heading(laws) -> str:
    return "  ".join(f"{axis + ' [' + format(laws.level, '.0%') + ']':<30}" for axis in laws.axes).rstrip()


def _values(found) -> list[str]:
    """Of each axis that was swept, the value and its interval."""
    values = [
        (found.lr, found.lr_lo, found.lr_hi),
        (found.batch_tokens, found.batch_lo, found.batch_hi),
    ]
    texts = [f"{value:.4g} [{lo:.3g}, {hi:.3g}]" for value, lo, hi in values if not math.isnan(value)]
    return [f"{text:<30}" for text in texts[:-1]] + texts[-1:]
