"""Peak memory of a traced program (jaxpr), from the live ranges of its arrays, without compiling it.

A compiler keeps fewer arrays than a program names: it fuses elementwise work into what reads it. So an array
takes memory here only if an operation that is not elementwise makes it or reads it, or if several read it;
any other is computed where it is read, from arrays that must live until then. Against XLA on CPUs, for every
family with and without remat, that is within a tenth (tests/experiments/training/memory/test_step_memory.py).
"""

import itertools
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from jax.extend.core import Jaxpr, Literal

LOOPS = {"scan", "while", "cond"}
# Operations whose operands and results lie in memory.
UNFUSED = LOOPS | {"dot_general", "ragged_dot_general", "conv_general_dilated", "triangular_solve"}
UNFUSED |= {"gather", "scatter", "scatter-add", "sort", "top_k", "cumsum", "concatenate"}
# Operations whose results do, but not their operands: elementwise work before them is fused in.
REDUCTIONS = {"reduce_sum", "reduce_max", "reduce_min", "reduce_and", "reduce_or", "argmax", "argmin"}
# Operations whose result is their operand.
ALIASES = {"reshape", "squeeze", "expand_dims", "optimization_barrier", "copy", "name", "stop_gradient"}
CALLED = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # parameters that hold the program that an operation calls


def n_bytes(x: Any) -> int:
    """Bytes of an array of this shape and type."""
    return math.prod(x.shape) * getattr(x.dtype, "itemsize", 4)


def peak_bytes(jaxpr: Jaxpr, first_slice: int | None = None) -> int:
    """The most bytes of arrays made by a program at once.

    Arguments are not counted, nor are results that elementwise work could write straight to where they go.
    From `first_slice` on arguments are slices of a scan: made when something first reads them.
    """
    program = Inlined()
    arguments = [program.new_array(var) for var in jaxpr.invars]
    results = program.inline(jaxpr, list(arguments))
    outside = set(arguments[:first_slice])
    slices = set(arguments) - outside
    in_memory = _arrays_in_memory(program, outside)
    sources = _sources(program, arguments, in_memory)

    operations = [operation for operation in program.operations if in_memory.intersection(operation.writes)]
    operations.append(Operation("return", [r for r in results if r is not None], []))
    reads = [set().union(*(sources.get(read, set()) for read in op.reads)) for op in operations]
    last_use = {array: i for i in range(len(operations)) for array in reads[i]}
    live, peak, allocated = 0, 0, set(outside)
    for i, operation in enumerate(operations):
        new = {a for a in (*operation.writes, *(reads[i] & slices & in_memory)) if a not in allocated}
        dead = {a for a in (*reads[i], *operation.writes) if last_use.get(a, i) <= i} - outside
        allocated |= new
        n_new = sum(program.sizes[array] for array in new if array in in_memory)
        n_dead = sum(program.sizes[array] for array in dead if array in in_memory)
        # Elementwise, the result may take the place of what is read for the last time.
        extra = n_new if operation.kind in UNFUSED else max(0, n_new - n_dead)
        peak = max(peak, live + extra + operation.inner_peak)
        live += n_new - n_dead
    return peak


@dataclass
class Operation:
    """One operation on numbered arrays. `inner_peak` is the bytes that it holds besides while it runs."""

    kind: str
    reads: list[int]
    writes: list[int]
    inner_peak: int = 0


@dataclass
class Inlined:
    """A program with its calls inlined: its operations, and the bytes of each numbered array."""

    operations: list[Operation] = field(default_factory=list)
    sizes: dict[int, int] = field(default_factory=dict)
    numbers: Any = field(default_factory=itertools.count)

    def new_array(self, var: Any) -> int:
        """The number of a new array like a jaxpr's variable."""
        number = next(self.numbers)
        self.sizes[number] = n_bytes(var.aval)
        return number

    def inline(self, jaxpr: Jaxpr, arguments: list[int | None]) -> list[int | None]:
        """Appends the operations of a program called with these arrays; returns the arrays it returns."""
        known: dict[Any, int | None] = dict(zip(jaxpr.invars, arguments, strict=True))
        known |= {var: self.new_array(var) for var in jaxpr.constvars}

        def read(atom: Any) -> int | None:
            return None if isinstance(atom, Literal) else known[atom]

        for equation in jaxpr.eqns:
            kind, reads = equation.primitive.name, [read(atom) for atom in equation.invars]
            called = None if kind in UNFUSED else next(filter(None, map(equation.params.get, CALLED)), None)
            if called is not None:
                writes = self.inline(without_constants(called), reads)
            elif kind in ALIASES:
                writes = reads
            else:
                writes = [self.new_array(var) for var in equation.outvars]
                operands = [r for r in reads if r is not None]
                self.operations.append(Operation(kind, operands, writes, _inner_peak(equation)))
            known |= dict(zip(equation.outvars, writes, strict=True))
        return [read(atom) for atom in jaxpr.outvars]


def n_dims(atom: Any) -> int:
    """Dimensions of an operand of a jaxpr."""
    return len(atom.aval.shape)


def without_constants(jaxpr: Any) -> Jaxpr:
    """The program of a closed jaxpr; a jaxpr itself."""
    return getattr(jaxpr, "jaxpr", jaxpr)


def _inner_peak(equation: Any) -> int:
    """The most that one round of a loop, or one branch, holds besides what comes in and goes out."""
    kind, parameters = equation.primitive.name, equation.params
    if kind == "scan":
        body = without_constants(parameters["jaxpr"])
        pairs = enumerate(zip(equation.invars, body.invars, strict=True))
        sliced = (i for i, (out, inner) in pairs if n_dims(out) != n_dims(inner))
        return peak_bytes(body, next(sliced, None))
    if kind == "while":
        return peak_bytes(without_constants(parameters["body_jaxpr"]))
    if kind == "cond":
        return max(peak_bytes(without_constants(branch)) for branch in parameters["branches"])
    return 0


def _arrays_in_memory(program: Inlined, outside: set[int]) -> set[int]:
    """The arrays that no fusion does away with, and those that are there from outside."""
    n_readers = Counter(read for operation in program.operations for read in set(operation.reads))
    in_memory = set(outside)
    for operation in program.operations:
        in_memory |= set(operation.writes if operation.kind in UNFUSED | REDUCTIONS else ())
        in_memory |= set(operation.reads if operation.kind in UNFUSED else ())
        in_memory |= {array for array in operation.writes if n_readers[array] > 1}
    return in_memory


def _sources(program: Inlined, arguments: list[int], in_memory: set[int]) -> dict[int, set[int]]:
    """For each array the arrays in memory that it is computed from where it is read; itself if it is one."""
    sources = {number: {number} for number in arguments}
    for operation in program.operations:
        computed_from = set().union(*(sources.get(read, set()) for read in operation.reads))
        for array in operation.writes:
            sources[array] = {array} if array in in_memory else computed_from
    return sources
