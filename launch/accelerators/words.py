"""What a step compiled for accelerators says, in words: does it fit, what bounds it, and what is wrong."""

import math
from collections.abc import Sequence
from typing import Any

from launch.accelerators.hlo import Collective, size_of
from launch.accelerators.step import StepReport

GIB = 2**30
LARGE = 2**20  # bytes: what is smaller costs a message's latency, whatever is sent


def report(each: StepReport, tried: Sequence[StepReport] = ()) -> str:
    """A paragraph of lines about one shape; `tried` are other meshes that were compiled for it."""
    model, card = each.run.model, each.topology.card
    mesh = mesh_words(each.mesh)
    least, most = (1e3 * seconds for seconds in each.step_seconds)
    parts = " · ".join(f"{name} {1e3 * seconds:.1f}" for name, seconds in each.seconds.items())
    best, worst = each.mfu
    lines = [
        f"{model.family} d_model {model.d_model}, {model.n_layers} layers, {each.run.batch_size} rows of "
        f"{each.run.seq_len:,} on {each.topology.text}, mesh {mesh}",
        f"  memory     {'fits' if each.fits else 'DOES NOT FIT'}: {each.total / GIB:.2f} of "
        f"{card.memory / GIB:.1f} GiB: arguments {each.arguments / GIB:.2f}, temporaries "
        f"{each.temporaries / GIB:.2f}, output {each.output / GIB:.2f} (forecast {each.predicted / GIB:.2f})",
        f"  FLOPs      {each.program.flops:.3g} compiled, {each.counted:.3g} counted a device "
        f"({each.program.flops / each.counted:.2f} times)",
    ]
    lines += [f"  {row}" for row in collective_rows(each)]
    if each.program.attention_kernels:
        lines.append(f"  attention  a fused kernel, {each.program.attention_kernels} times")
    elif each.no_kernel:
        lines.append(f"  attention  no fused kernel: {each.no_kernel}")
    lines += [
        f"  step       {least:.1f} ms at least if all overlaps, {most:.1f} if nothing does (ms: {parts})",
        f"  MFU        {best:.0%} at most; {worst:.0%} if nothing overlaps",
    ]
    lines += [f"  wrong      {what}" for what in faults(each)]
    for other in tried:
        if other is not each:
            bound = 1e3 * other.step_seconds[0]
            lines.append(
                f"  not chosen {mesh_words(other.mesh)}: {other.total / GIB:.1f} GiB, "
                f"{bound:.1f} to {1e3 * other.step_seconds[1]:.1f} ms"
            )
    return "\n".join(lines)


def as_json(each: StepReport) -> dict[str, Any]:
    """The numbers of a report, under the names of `StepReport`."""
    least, most = each.step_seconds
    return {
        "run": each.run.run_id,
        "topology": each.topology.text,
        "mesh": each.mesh,
        "fits": each.fits,
        "device_memory": each.topology.card.memory,
        **{
            name: getattr(each, name) for name in ("arguments", "temporaries", "output", "total", "predicted")
        },
        "flops": each.program.flops,
        "counted": each.counted,
        "useful": each.useful,
        "attention_kernels": each.program.attention_kernels,
        "seconds": each.seconds,
        "step_seconds": [least, most],
        "mfu": list(each.mfu),
        "collectives": [
            {"kind": one.kind, "array": shape_words(one), "axes": each.axes(one), "times": one.times}
            | {"bytes_sent": one.sent * one.times, "overlapped": one.overlapped}
            for one in each.program.collectives
        ],
        "faults": faults(each),
    }


def mesh_words(mesh: dict[str, int]) -> str:
    """ "fsdp=8,tensor=2"; "of one device"."""
    return ",".join(f"{axis}={size}" for axis, size in mesh.items()) or "of one device"


def collective_rows(each: StepReport) -> list[str]:
    """A line a kind of message: how often, along which axes, how much leaves a device, in which types."""
    found: dict[tuple[str, str], list[Collective]] = {}
    for one in each.program.collectives:
        along = "×".join(each.axes(one)) or "–"
        found.setdefault((one.kind, along), []).append(one)
    rows = []
    for (kind, along), many in sorted(found.items()):
        sent = sum(one.sent * one.times for one in many)
        types = ", ".join(sorted({dtype for one in many for dtype in one.dtypes if one.n_bytes >= LARGE}))
        alone = sum(one.sent * one.times for one in many if one.overlapped is False)
        waits = f", {alone / sent:.0%} with nothing beside it" if alone > 0.05 * sent else ""
        times = sum(one.times for one in many)
        rows.append(f"{kind:<18} {times:>5} along {along:<12} {sent / GIB:>8.3f} GiB sent  {types}{waits}")
    return rows or ["no messages"]


def faults(each: StepReport) -> list[str]:
    """What costs more than it should, a sentence each."""
    found = []
    large = [one for one in each.program.collectives if one.n_bytes >= LARGE]
    whole = [one for one in large if one.kind == "all-reduce" and "fsdp" in each.axes(one)]
    whole = [one for one in whole if any(sum(size > 1 for size in dims) > 1 for _, dims in one.shapes)]
    if whole:
        found.append(
            f"{sum(one.times for one in whole)} all-reduces of whole gradients along fsdp, such as "
            f"{shape_words(whole[0])}: a reduce-scatter would send half of their {_sent(whole):.2f} GiB"
        )
    wide = [one for one in large if one.kind == "all-gather"]
    wide = [one for one in wide if size_of([each for each in one.shapes if each[0] == "f32"]) >= LARGE]
    if wide and each.run.model.dtype == "bfloat16":
        found.append(
            f"{sum(one.times for one in wide)} gathers in float32, such as {shape_words(wide[0])}: "
            f"cast first, they would send half of their {_sent(wide):.2f} GiB"
        )
    if each.no_kernel and each.run.seq_len >= 1024:
        found.append(f"attention keeps whole matrices of scores: {each.no_kernel}")
    if each.program.flops > 1.25 * each.counted:
        found.append(
            f"{each.program.flops / each.counted:.2f} times the products that were counted: something is "
            "computed more than once, or on every device alike"
        )
    if each.total > 1.1 * each.predicted:
        found.append(
            f"`isoflop plan` forecasts {each.predicted / GIB:.2f} GiB, the compiler takes "
            f"{each.total / GIB:.2f}"
        )
    products, messages = each.seconds["products"], each.seconds["messages"]
    if messages > products:
        found.append(
            f"messages take {messages / products:.1f} times as long as products: more tokens a device, "
            "or a mesh that sends less"
        )
    if not each.fits:
        found.append("it does not fit: more devices, fewer rows, remat, or micro_batches")
    return found


def shape_words(one: Collective) -> str:
    """ "bf16[4096,4096]", of the largest array."""
    dtype, dims = max(one.shapes, key=lambda shape: math.prod(shape[1]))
    return f"{dtype}[{','.join(map(str, dims))}]"


def _sent(many: Sequence[Collective]) -> float:
    return sum(one.sent * one.times for one in many) / GIB
