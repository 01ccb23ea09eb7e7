"""How many bytes a traced program holds at its busiest moment, read off the program without compiling it.

A compiler keeps fewer arrays than a program names: it fuses elementwise work into what reads it. So an array
takes memory here only if an operation that is not elementwise makes it or reads it, or if several read it;
any other is computed where it is read, from arrays that must live until then. Held against XLA on CPUs, for
every family with and without remat, that is within a tenth (`tests/experiments/training/test_memory.py`).
"""

import itertools
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from jax.extend.core import Jaxpr, Literal

LOOPS = {"scan", "while", "cond"}
# Operations whose operands and results lie in memory.
HEAVY = LOOPS | {"dot_general", "ragged_dot_general", "conv_general_dilated", "triangular_solve"}
HEAVY |= {"gather", "scatter", "scatter-add", "sort", "top_k", "cumsum", "concatenate"}
# Operations whose results do, but not their operands: elementwise work before them is fused in.
REDUCING = {"reduce_sum", "reduce_max", "reduce_min", "reduce_and", "reduce_or", "argmax", "argmin"}
SAME = {"reshape", "squeeze", "expand_dims", "optimization_barrier", "copy", "name", "stop_gradient"}
CALLED = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def n_bytes(x: Any) -> int:
    """Of an array of this shape and type."""
    return math.prod(x.shape) * getattr(x.dtype, "itemsize", 4)


@dataclass
class Step:
    """One operation: arrays are numbers. `inside` is what it holds besides while it runs."""

    kind: str
    reads: list[int]
    makes: list[int]
    inside: int = 0


@dataclass
class Flat:
    """A program with its calls written out."""

    steps: list[Step] = field(default_factory=list)
    sizes: dict[int, int] = field(default_factory=dict)
    numbers: Any = field(default_factory=itertools.count)

    def new(self, var: Any) -> int:
        number = next(self.numbers)
        self.sizes[number] = n_bytes(var.aval)
        return number

    def add(self, jaxpr: Jaxpr, arguments: list[int | None]) -> list[int | None]:
        """Appends the steps of a program called with these arrays; the arrays it returns."""
        known: dict[Any, int | None] = dict(zip(jaxpr.invars, arguments, strict=True))
        known |= {var: self.new(var) for var in jaxpr.constvars}

        def read(atom: Any) -> int | None:
            return None if isinstance(atom, Literal) else known[atom]

        for equation in jaxpr.eqns:
            kind, reads = equation.primitive.name, [read(atom) for atom in equation.invars]
            called = None if kind in HEAVY else next(filter(None, map(equation.params.get, CALLED)), None)
            if called is not None:
                made = self.add(opened(called), reads)
            elif kind in SAME:
                made = reads
            else:
                made = [self.new(var) for var in equation.outvars]
                self.steps.append(Step(kind, [r for r in reads if r is not None], made, _inside(equation)))
            known |= dict(zip(equation.outvars, made, strict=True))
        return [read(atom) for atom in jaxpr.outvars]


def _inside(equation: Any) -> int:
    """The most that one round of a loop, or one branch, holds besides what comes in and goes out."""
    kind, parameters = equation.primitive.name, equation.params
    if kind == "scan":
        body = opened(parameters["jaxpr"])
        pairs = enumerate(zip(equation.invars, body.invars, strict=True))
        sliced = (i for i, (out, inner) in pairs if n_dims(out) != n_dims(inner))
        return peak_bytes(body, next(sliced, None))
    if kind == "while":
        return peak_bytes(opened(parameters["body_jaxpr"]))
    if kind == "cond":
        return max(peak_bytes(opened(branch)) for branch in parameters["branches"])
    return 0


def n_dims(atom: Any) -> int:
    return len(atom.aval.shape)


def opened(jaxpr: Any) -> Jaxpr:
    """A program without its constants."""
    return getattr(jaxpr, "jaxpr", jaxpr)


def peak_bytes(jaxpr: Jaxpr, first_slice: int | None = None) -> int:
    """The most bytes of arrays made by a program at once.

    Arguments are not counted, nor are results that elementwise work could write straight to where they go.
    From `first_slice` on arguments are slices of a scan: made when something first reads them.
    """
    flat = Flat()
    arguments = [flat.new(var) for var in jaxpr.invars]
    results = flat.add(jaxpr, list(arguments))
    outside = set(arguments[:first_slice])
    slices = set(arguments) - outside

    readers = Counter(read for step in flat.steps for read in set(step.reads))
    in_memory, sources = set(outside), {number: {number} for number in arguments}
    for step in flat.steps:
        in_memory |= set(step.makes if step.kind in HEAVY | REDUCING else ())
        in_memory |= set(step.reads if step.kind in HEAVY else ())
        in_memory |= {made for made in step.makes if readers[made] > 1}
    # Elementwise: what it stands for is what it is computed from.
    for step in flat.steps:
        computed_from = set().union(*(sources.get(read, set()) for read in step.reads))
        for made in step.makes:
            sources[made] = {made} if made in in_memory else computed_from

    def needs(step: Step) -> set[int]:
        """The arrays that must lie in memory when the step runs."""
        return set().union(*(sources.get(read, set()) for read in step.reads))

    working = [step for step in flat.steps if in_memory.intersection(step.makes)]
    working.append(Step("return", [r for r in results if r is not None], []))
    last_use = {number: i for i, step in enumerate(working) for number in needs(step)}
    live, peak, there = 0, 0, set(outside)
    for i, step in enumerate(working):
        reads = needs(step)
        coming = {number for number in (*step.makes, *(reads & slices & in_memory)) if number not in there}
        gone = {number for number in (*reads, *step.makes) if last_use.get(number, i) <= i} - outside
        in_place = step.kind not in HEAVY  # the result may take the place of what is read for the last time
        there |= coming
        came = sum(flat.sizes[number] for number in coming if number in in_memory)
        went = sum(flat.sizes[number] for number in gone if number in in_memory)
        peak = max(peak, live + max(0, came - went if in_place else came) + step.inside)
        live += came - went
    return peak
