"""Peak memory of a traced program (jaxpr), from the live ranges of its arrays, without compiling it.

A compiler keeps fewer arrays than a program names: it fuses elementwise work into what reads it. So an array
takes memory here only if an operation that is not elementwise makes it or reads it, or if several read it and
making it again would read more than it holds; any other is computed where it is read, from arrays that must
live until then. What a loop carries, and what is scattered into, is written in its place. On a mesh an array
counts with the part that a device has (`layouts`). Against XLA on CPUs, for every family with and without
remat, that is within a tenth (tests/experiments/training/memory/test_step_memory.py); where a CPU unrolls few
layers (`models.families.layer_scan`), it needs up to a fifth less than is said here, which is of the loop.
"""

import itertools
import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jax.extend.core import Jaxpr, Literal

from experiments.training.memory import layouts
from experiments.training.memory.layouts import Layout

LOOPS = {"scan", "while", "cond"}
MESSAGES = {"all_gather", "reduce_scatter", "psum", "psum_invariant", "all_to_all", "ppermute"}
KERNELS = {"dot_product_attention_fwd_wrapper", "dot_product_attention_bwd_wrapper", "pallas_call"}
# Operations whose operands and results lie in memory; `sharding_constraint` where it moves an array.
UNFUSED = LOOPS | MESSAGES | KERNELS | {"dot_general", "ragged_dot_general", "conv_general_dilated"}
UNFUSED |= {"scatter", "scatter-add", "dynamic_update_slice", "sort", "top_k", "cumsum"}
UNFUSED |= {"concatenate", "triangular_solve", "sharding_constraint"}
# Operations whose results do, but not their operands: elementwise work before them is fused in.
REDUCTIONS = {"reduce_sum", "reduce_max", "reduce_min", "reduce_and", "reduce_or", "argmax", "argmin"}
REDUCTIONS |= {"gather"}
# Operations whose result is their operand.
ALIASES = {"reshape", "squeeze", "expand_dims", "copy", "name", "stop_gradient"}
CALLED = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # parameters that hold the program that an operation calls


def n_bytes(x: Any) -> int:
    """Bytes of an array of this shape and type."""
    return math.prod(x.shape) * getattr(x.dtype, "itemsize", 4)


class Placed(NamedTuple):
    """What a variable stands for: the number of an array, None for a literal, and how it lies on the mesh."""

    array: int | None
    layout: Layout


@dataclass
class Operation:
    """One operation on numbered arrays.

    inner_peak: bytes that it holds besides while it runs.
    in_place: pairs of an array that it reads and one that it writes there, if nothing reads the first later.
    """

    kind: str
    reads: list[int]
    writes: list[int]
    inner_peak: int = 0
    in_place: list[tuple[int, int]] = field(default_factory=list)


class Program:
    """A jaxpr with its calls inlined: its operations, and the bytes of each numbered array on a device.

    arguments, results: see `Placed`.
    """

    def __init__(self, jaxpr: Jaxpr, argument_layouts: Sequence[Layout] | None = None):
        self.operations: list[Operation] = []
        self.sizes: dict[int, int] = {}
        self._numbers, self._filled = itertools.count(), set()
        at = argument_layouts or [layouts.whole(var) for var in jaxpr.invars]
        self.arguments = [self._new(var, layout) for var, layout in zip(jaxpr.invars, at, strict=True)]
        self.results = self._inline(jaxpr, self.arguments)

    def _new(self, var: Any, layout: Layout) -> Placed:
        number = next(self._numbers)
        self.sizes[number] = n_bytes(var.aval) // math.prod(layout)
        return Placed(number, layout)

    def _inline(self, jaxpr: Jaxpr, arguments: Sequence[Placed]) -> list[Placed]:
        """Appends the operations of a program called with these arrays; returns what it returns."""
        known: dict[Any, Placed] = dict(zip(jaxpr.invars, arguments, strict=True))
        known |= {var: self._new(var, layouts.whole(var)) for var in jaxpr.constvars}

        def read(atom: Any) -> Placed:
            return Placed(None, layouts.whole(atom)) if isinstance(atom, Literal) else known[atom]

        for equation in jaxpr.eqns:
            kind, reads = equation.primitive.name, [read(atom) for atom in equation.invars]
            called = None if kind in UNFUSED else next(filter(None, map(equation.params.get, CALLED)), None)
            if kind == "shard_map":
                writes = self._on_each_device(equation, reads)
            elif called is not None:
                writes = self._inline(without_constants(called), reads)
            else:
                writes = self._append(equation, reads)
            known |= dict(zip(equation.outvars, writes, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _append(self, equation: Any, reads: list[Placed]) -> list[Placed]:
        kind, at = equation.primitive.name, [each.layout for each in reads]
        if kind == "optimization_barrier":
            return list(reads)
        inner_peak, to = _loop(equation, at) if kind in LOOPS else (0, layouts.of_results(equation, at))
        if kind in ALIASES or (kind == "sharding_constraint" and to == at):
            return [Placed(reads[0].array, to[0])]
        writes = [self._new(var, layout) for var, layout in zip(equation.outvars, to, strict=True)]
        self._operate(kind, reads, writes, inner_peak, _in_place(equation))
        if kind == "broadcast_in_dim" and equation.invars[0].aval.ndim == 0:
            self._filled.add(writes[0].array)
        return writes

    def _operate(
        self,
        kind: str,
        reads: Sequence[Placed],
        writes: Sequence[Placed],
        inner_peak: int = 0,
        in_place: Sequence[tuple[int, int]] = (),
    ) -> None:
        pairs = [(reads[i].array, writes[j].array) for i, j in in_place]
        operands, made = ([each.array for each in many if each.array is not None] for many in (reads, writes))
        known = [(old, new) for old, new in pairs if old is not None and new is not None]
        for old, new in known:
            if old in self._filled:  # nothing said where it lies; where it is used
                self.sizes[old] = min(self.sizes[old], self.sizes[new])
        self.operations.append(Operation(kind, operands, made, inner_peak, known))

    def _on_each_device(self, equation: Any, reads: list[Placed]) -> list[Placed]:
        """What `shard_map` calls, on the parts of its operands that it wants on a device."""
        body, of = without_constants(equation.params["jaxpr"]), equation.params
        arguments = []
        for placed, var, spec in zip(reads, body.invars, of["in_specs"], strict=True):
            inside = self._new(var, layouts.inside(placed.layout, spec, of["mesh"]))
            if placed.array is not None and inside.array is not None:
                before, after = self.sizes[placed.array], self.sizes[inside.array]
                if before == after:
                    inside = Placed(placed.array, inside.layout)
                else:
                    self._operate("all_gather" if before < after else "slice", [placed], [inside])
            arguments.append(inside)
        specs = zip(self._inline(body, arguments), of["out_specs"], strict=True)
        return [Placed(out.array, layouts.outside(out.layout, spec, of["mesh"])) for out, spec in specs]


def peak_bytes(jaxpr: Jaxpr, argument_layouts: Sequence[Layout] | None = None) -> int:
    """The most bytes of arrays made by a program at once, on each device.

    Arguments are not counted, nor are results that elementwise work could write straight to where they go.

    Args:
      jaxpr: the program.
      argument_layouts: how its arguments lie on the mesh; None: they are whole.
    """
    return _peak(Program(jaxpr, argument_layouts))


def made_bytes(jaxpr: Jaxpr, argument_layouts: Sequence[Layout]) -> int:
    """Bytes on a device of those results of a program that are not its arguments or constants."""
    program = Program(jaxpr, argument_layouts)
    made = {array for operation in program.operations for array in operation.writes}
    return sum(program.sizes[array] for array in made & {each.array for each in program.results})


def _peak(program: Program, slices: Collection[int] = (), carried: Collection[int] = ()) -> int:
    """The peak of a program, of which some arguments are slices, made when something first reads them, and
    some may be overwritten once nothing reads them any more."""
    arguments = {each.array for each in program.arguments if each.array is not None}
    outside = arguments - set(slices)
    in_memory, sources = _arrays_in_memory(program, outside, arguments)

    operations = [operation for operation in program.operations if in_memory.intersection(operation.writes)]
    returned = [each.array for each in program.results if each.array is not None]
    operations.append(Operation("return", returned, []))
    reads = [set().union(*(sources.get(read, set()) for read in op.reads)) for op in operations]
    last_use = {array: i for i in range(len(operations)) for array in reads[i]}
    costs = {array: 0 if array in outside else program.sizes[array] for array in in_memory}
    live, peak, allocated = 0, 0, set(outside)
    for i, operation in enumerate(operations):
        touched = in_memory.intersection((*operation.writes, *reads[i]))
        new = {a for a in touched if a not in allocated and (a in operation.writes or a in slices)}
        dead = {a for a in touched if last_use.get(a, i) <= i}
        in_place = 0
        for old, written in operation.in_place:
            free = old in dead and (old not in outside or old in carried)
            if free and written in new and program.sizes[old] == program.sizes[written]:
                costs[written] = costs[old]
                in_place += costs[old]
        allocated |= new
        n_new, n_dead = (sum(costs[array] for array in arrays) for arrays in (new, dead))
        # Elementwise, the result may take the place of what is read for the last time.
        extra = n_new - in_place if operation.kind in UNFUSED else max(0, n_new - n_dead)
        peak = max(peak, live + extra + operation.inner_peak)
        live += n_new - n_dead
    return peak


def without_constants(jaxpr: Any) -> Jaxpr:
    """The program of a closed jaxpr; a jaxpr itself."""
    return getattr(jaxpr, "jaxpr", jaxpr)


def _n_before_carry(equation: Any) -> int:
    """Operands of a loop that come before those that it carries from round to round."""
    of = equation.params
    return of["num_consts"] if equation.primitive.name == "scan" else of["cond_nconsts"] + of["body_nconsts"]


def _in_place(equation: Any) -> list[tuple[int, int]]:
    """(operand, result): what may be written where it was read."""
    kind = equation.primitive.name
    if kind in ("scan", "while"):
        n = equation.params["num_carry"] if kind == "scan" else len(equation.outvars)
        return [(_n_before_carry(equation) + i, i) for i in range(n)]
    if kind.startswith("scatter") or kind == "dynamic_update_slice":
        return [(0, 0)]
    return [(i, i) for i in range(len(equation.outvars))] if kind.startswith("psum") else []


def _loop(equation: Any, at: list[Layout]) -> tuple[int, list[Layout]]:
    """The most that one round of a loop, or one branch, holds besides what comes in and goes out, and how its
    results lie."""
    kind, of = equation.primitive.name, equation.params
    if kind == "cond":
        branches = [Program(without_constants(branch), at[1:]) for branch in of["branches"]]
        return max(map(_peak, branches)), [each.layout for each in branches[0].results]
    body = without_constants(of["jaxpr" if kind == "scan" else "body_jaxpr"])
    first = _n_before_carry(equation)
    constants = at[:first] if kind == "scan" else at[of["cond_nconsts"] : first]
    n_carry = of["num_carry"] if kind == "scan" else len(equation.outvars)
    carry, slices = at[first : first + n_carry], [layout[1:] for layout in at[first + n_carry :]]
    while True:  # until what a round carries on lies as what it began with
        program = Program(body, [*constants, *carry, *slices])
        after = [layouts.finer(a, b.layout) for a, b in zip(carry, program.results)]
        if after == carry:
            break
        carry = after
    numbers = [each.array for each in program.arguments if each.array is not None]
    end = len(constants) + n_carry
    peak = _peak(program, numbers[end:], numbers[len(constants) : end])
    return peak, [*carry, *((1, *each.layout) for each in program.results[n_carry:])]


def _arrays_in_memory(
    program: Program, outside: set[int], arguments: set[int]
) -> tuple[set[int], dict[int, set[int]]]:
    """The arrays that no fusion does away with, and those that are there from outside; and for each array
    those in memory that it is computed from where it is read, itself if it is one."""
    n_readers = Counter(read for operation in program.operations for read in set(operation.reads))
    in_memory, varying = set(outside), set(arguments)
    for operation in program.operations:
        varying |= set(operation.writes if varying.intersection(operation.reads) else ())
    for operation in program.operations:
        in_memory |= set(operation.writes if operation.kind in UNFUSED | REDUCTIONS else ())
        if operation.kind in LOOPS:  # what depends on no argument, masks for one, is made inside
            in_memory |= varying.intersection(operation.reads) | {old for old, _ in operation.in_place}
        elif operation.kind in UNFUSED:
            in_memory |= set(operation.reads)
    sources = {number: {number} for number in arguments}
    for operation in program.operations:
        computed_from = set().union(*(sources.get(read, set()) for read in operation.reads))
        to_read = sum(program.sizes[array] for array in computed_from)
        for array in operation.writes:
            if n_readers[array] > 1 and to_read >= program.sizes[array]:
                in_memory.add(array)
            sources[array] = {array} if array in in_memory else computed_from
    return in_memory, sources
