"""Metrics of checkpoints as JSON, as rows of a table and as text for people."""

import math
from typing import TYPE_CHECKING, Any

from experiments.evaluate import checkpoint_comparison
from experiments.evaluate.checkpoint_comparison import CheckpointResponses
from experiments.evaluate.statistics.intervals import Estimate
from experiments.evaluate.tasks import task_metrics
from experiments.evaluate.tasks.calibration import calibrate
from experiments.evaluate.tasks.responses import Responses

if TYPE_CHECKING:  # imports jax, which tasks whose responses are all cached do without
    from experiments.evaluate.language_modelling.text_score import TextScore

ROUNDING = 1e-5  # of a loss: equal networks that are computed in another way differ by less


def invalid_items(evaluated: list[CheckpointResponses], texts: "list[TextScore]") -> list[str]:
    """A line for each item or document that was left out, of the first checkpoint; the others' differ by
    their context only."""
    found = [(one.name, b) for one in texts[:1] for b in one.text.invalid]
    for one in evaluated[:1]:
        found += [(name, b) for name, responses in one.responses.items() for b in responses.invalid]
    return [f"{name}:{b.line}: left out: {b.reason}" for name, b in found]


def rows(evaluated: list[CheckpointResponses], texts: "list[TextScore]") -> list[dict[str, Any]]:
    """One row a checkpoint, text or task, and metric."""
    made = []
    for one, found in zip(evaluated, texts):
        for metric in ("bits_per_byte", "loss"):
            estimate = getattr(found.perplexity, metric)
            row = {"run_id": one.checkpoint.name, "task": found.name, "metric": metric}
            row |= vars(estimate) | {"n": found.perplexity.n_documents, "chance": None, "ceiling": None}
            made.append(row | {k: v for k, v in one.checkpoint.row.items() if k not in row})
    return made + checkpoint_comparison.rows(evaluated)


# ---- tasks of the harness: estimates by checkpoint, task and metric --------------------------------------

ByTask = dict[str, dict[str, Estimate]]


def harness_rows(found: dict[str, ByTask]) -> list[dict[str, Any]]:
    """One row a checkpoint, task and metric, as `rows`."""
    return [
        {"run_id": name, "task": f"lm_eval:{task}", "metric": metric} | vars(estimate)
        for name, by_task in found.items()
        for task, metrics in by_task.items()
        for metric, estimate in metrics.items()
    ]


def harness_json(found: dict[str, ByTask]) -> dict[str, Any]:
    """As plain values; null where there is no standard error."""
    return {
        name: {task: {m: _estimate(e) for m, e in metrics.items()} for task, metrics in by_task.items()}
        for name, by_task in found.items()
    }


def harness_text(found: dict[str, ByTask]) -> str:
    """A table with a metric a line."""
    table = [["run", "task", "metric", "value", "90% interval"]]
    for row in harness_rows(found):
        e = Estimate(*(row[name] for name in ("value", "se", "lo", "hi")))
        table.append([row["run_id"], row["task"], row["metric"], _with_error(e, 3), _interval_ends(e)])
    return "\n".join(_aligned(table))


# ---- JSON ------------------------------------------------------------------------------------------------


def as_json(evaluated: list[CheckpointResponses], texts: "list[TextScore]") -> dict[str, Any]:
    """All numbers as plain values; null where there is too little for an interval."""
    each = [
        {"run": str(one.checkpoint.folder)}
        | (_text_json(texts[i]) if texts else {})
        | ({"tasks": {n: _task_json(a) for n, a in one.responses.items()}} if one.responses else {})
        for i, one in enumerate(evaluated)
    ]
    if len(each) == 1:
        return each[0]
    made: dict[str, Any] = {"checkpoints": each}
    apart = checkpoint_comparison.differences(evaluated)
    made["differences"] = [
        {"run": str(one.checkpoint.folder), "against": str(evaluated[0].checkpoint.folder)}
        | {name: _estimate(estimate) for name, estimate in found.items()}
        | ({"bits_per_byte": _estimate(texts[i].difference(texts[0]))} if texts else {})
        for i, (one, found) in enumerate(zip(evaluated[1:], apart), 1)
    ]
    made["seeds"] = [
        {"runs": [c.name for c in one.checkpoints], "task": one.task, **_estimate(one.mean.estimate)}
        | {name: _or_null(getattr(one.mean, name)) for name in ("between_sd", "se_items")}
        for one in checkpoint_comparison.over_seeds(evaluated)
    ]
    return made


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {name: _or_null(value) for name, value in vars(estimate).items()}


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else value


def _text_json(found: "TextScore") -> dict[str, Any]:
    numbers, p = {}, found.perplexity
    for name, estimate in (("loss", p.loss), ("bits_per_byte", p.bits_per_byte)):
        values = _estimate(estimate)
        numbers |= {name: values["value"], f"{name}_se": values["se"]}
        numbers[f"{name}_ci"] = [values["lo"], values["hi"]]
    about = ("level", "resampled", "n_documents", "n_tokens", "n_bytes", "n_bytes_lost", "context")
    sizes = {k: getattr(p, k) for k in about}
    groups = {
        by: {
            label: {"loss": _estimate(one)}
            if isinstance(one, Estimate)
            else {k: _estimate(getattr(one, k)) for k in ("loss", "bits_per_byte")}
            | {"n_documents": one.n_documents, "n_bytes": one.n_bytes}
            for label, one in labels.items()
        }
        for by, labels in found.groups.items()
    }
    return {"text": found.name, **numbers, **sizes} | ({"by": groups} if groups else {})


def _task_json(responses: Responses) -> dict[str, Any]:
    task = responses.task
    made: dict[str, Any] = {
        "metric": task.metric,
        "n": len(responses.items),
        "n_broken": len(responses.invalid),
    }
    made |= {"chance": task.chance, "ceiling": task.ceiling}
    made |= {result.metric: _estimate(result.estimate) for result in task_metrics.results(responses)}
    if task.metric == "multiple_choice":
        found = vars(calibrate(responses))
        bins = [vars(one) | {"accuracy": _estimate(one.accuracy)} for one in found["bins"]]
        made["calibration"] = found | {"bins": bins}
    return made


# ---- text ------------------------------------------------------------------------------------------------


def as_text(evaluated: list[CheckpointResponses], texts: "list[TextScore]") -> str:
    """A table of the numbers of one checkpoint, or of checkpoints by tasks."""
    if len(evaluated) > 1:
        return "\n\n".join([_many(evaluated, texts), *_seeds(evaluated)])
    parts = [_text_lines(one) for one in texts]
    if evaluated[0].responses:
        parts.append(_task_lines(evaluated[0]))
    return "\n\n".join(parts)


def _text_lines(found: "TextScore") -> str:
    p = found.perplexity
    size = f"{p.n_documents:,} documents, {p.n_tokens:,} tokens, {p.n_bytes:,} bytes"
    size += f", of which the vocabulary loses {p.n_bytes_lost:,}" if p.n_bytes_lost > 0 else ""
    lines = [f"{found.folder} on {found.name}: {size}"]
    for name, estimate, unit in (("loss", p.loss, "nats/token"), ("bits per byte", p.bits_per_byte, "")):
        lines.append(f"  {name:<14} {_with_error(estimate)} {unit:<10}  {_interval(estimate, p.level)}")
    lines.append(f"  {'perplexity':<14} {math.exp(p.loss.value):.3f}")
    for by, labels in found.groups.items():
        lines += ["", *_group_lines(by, labels)]
    lines.append(f"windows of {p.context} tokens; intervals over {p.resampled}")
    return "\n".join(lines)


def _group_lines(by: str, labels: dict[str, Any]) -> list[str]:
    """A group a line: loss, bits per byte and size."""
    table = [[f"by {by}", "nats/token", "bits per byte", "documents", "bytes"]]
    for label, one in labels.items():
        if isinstance(one, Estimate):
            table.append([label, _with_error(one), "", "", ""])
        else:
            sizes = [f"{one.n_documents:,}", f"{one.n_bytes:,}"]
            table.append([label, _with_error(one.loss), _with_error(one.bits_per_byte), *sizes])
    filled = [column for column in zip(*table) if any(column[1:])]
    return _aligned(list(zip(*filled)))


def _task_lines(score: CheckpointResponses) -> str:
    table = [["task", "metric", "value", "90% interval", "items", "chance"]]
    for name, responses in score.responses.items():
        for result in task_metrics.results(responses):
            e, chance = result.estimate, "" if result.chance is None else f"{result.chance:.3g}"
            table.append([name, result.metric, _with_error(e, 3), _interval_ends(e), f"{result.n}", chance])
            name = ""
        if responses.task.metric == "multiple_choice":
            found = calibrate(responses)
            table.append(["", "ECE", f"{found.ece:.3f}", "", f"{len(responses.items)}", ""])
    return "\n".join([str(score.checkpoint.folder), *_aligned(table)])


def _many(evaluated: list[CheckpointResponses], texts: "list[TextScore]") -> str:
    """A checkpoint a line. `+` and `-` mark what is surely better and worse than the first one."""
    apart: list[dict[str, Estimate]] = [{}, *checkpoint_comparison.differences(evaluated)]
    names = list(evaluated[0].responses)
    known = [
        c for c in ("stage", "n_params", "n_tokens", "loss") if all(c in s.checkpoint.row for s in evaluated)
    ]
    table = [["run", *known, *([texts[0].name] if texts else []), *names]]
    for i, one in enumerate(evaluated):
        line = [one.checkpoint.name, *(_shown(one.checkpoint.row[c]) for c in known)]
        if texts:
            rounding = ROUNDING * texts[0].perplexity.bits_per_byte.value
            mark = _mark(texts[i].difference(texts[0]), better=-1, least=rounding) if i else " "
            line.append(f"{_with_error(texts[i].perplexity.bits_per_byte)}{mark}")
        for name in names:
            estimate = next(r.estimate for r in task_metrics.results(one.responses[name])
                            if r.metric == task_metrics.MAIN[one.responses[name].task.metric])  # fmt: skip
            line.append(f"{_with_error(estimate, 3)}{_mark(apart[i].get(name))}")
        table.append(line)
    about = [f"{texts[0].name}: bits per byte"] if texts else []
    about += ["accuracy ± standard error"] if names else []
    chances = [
        f"{n} {a.task.chance:.3g}" for n, a in evaluated[0].responses.items() if a.task.chance is not None
    ]
    about.append("+ or -: better or worse than the first by a paired 90% interval")
    lines = [*_aligned(table), "; ".join(about), *([f"chance: {', '.join(chances)}"] if chances else [])]
    return "\n".join(lines)


def _seeds(evaluated: list[CheckpointResponses]) -> list[str]:
    """Runs that differ in their seed alone, averaged."""
    found = checkpoint_comparison.over_seeds(evaluated)
    if not found:
        return []
    table = [["task", "over seeds", "90% interval", "spread between seeds", "runs"]]
    for one in found:
        e, j = one.mean.estimate, one.mean
        runs = ", ".join(c.name for c in one.checkpoints)
        table.append([one.task, _with_error(e, 3), _interval_ends(e), f"{j.between_sd:.3f}", runs])
    return ["\n".join(_aligned(table))]


def _mark(apart: Estimate | None, better: int = 1, least: float = 0.0) -> str:
    """`better` is -1 where less is better, as bits are; what is not above `least` is no difference."""
    if apart is None or not apart.excludes(0) or abs(apart.value) <= least:
        return " "
    return "+" if apart.value * better > 0 else "-"


def _shown(value: Any) -> str:
    """A cell of the table of runs: numbers to four digits."""
    try:
        return f"{float(value):,.5g}" if float(value) < 1e5 else f"{float(value):.3g}"
    except ValueError:
        return str(value)


def _with_error(estimate: Estimate, digits: int = 4) -> str:
    spread = "" if math.isnan(estimate.se) else f" ± {estimate.se:.{digits}f}"
    return f"{estimate.value:.{digits}f}{spread}"


def _interval_ends(estimate: Estimate) -> str:
    return "" if math.isnan(estimate.lo) else f"{estimate.lo:.3f} to {estimate.hi:.3f}"


def _interval(estimate: Estimate, level: float) -> str:
    if math.isnan(estimate.se):
        return "no interval: the text is a single window"
    return f"{level:.0%} interval {estimate.lo:.4f} to {estimate.hi:.4f}"


def _aligned(table: list) -> list[str]:
    """Columns as wide as their widest cell; a text column's cells begin, the others' end, together."""
    widths = [max(len(row[c]) for row in table) for c in range(len(table[0]))]
    return [
        "  ".join(
            f"{cell:<{w}}" if c == 0 else f"{cell:>{w}}" for c, (cell, w) in enumerate(zip(row, widths))
        ).rstrip()
        for row in table
    ]
