"""What a compiled program does, from its text (XLA's HLO, after partitioning and fusion): messages between
devices and matrix products, each as often as the loops around it run."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

KINDS = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
)
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f64": 8, "s64": 8, "u64": 8}
# Kernels of attention, by a part of what they are called, and the matrix products that each computes.
ATTENTION = {"fmhaSoftmaxBackward": 5, "fmhaSoftmax": 2}
ATTENTION |= {"splash_mha_fwd": 2, "splash_mha_dkv": 4, "splash_mha_dq": 3}
# A TPU's messages stand in the fusion that begins one, in those that compute beside it, and where it ends.
BEGINS, ENDS, BESIDE = "AsyncCollectiveStart", "AsyncCollectiveDone", "async_collective_fusion"

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_SHAPE = re.compile(r"\b(pred|[a-z]+\d+\w*)\[([\d,]*)\]")


@dataclass(frozen=True)
class Instruction:
    """One line of a computation; `rest` has the operands and all that follows them."""

    name: str
    type: str
    opcode: str
    rest: str

    @property
    def operands(self) -> list[str]:
        """Their names: those before the parenthesis closes."""
        return re.findall(r"%([\w.\-]+)", self.rest[: _closing("(" + self.rest) - 1])


@dataclass(frozen=True)
class Collective:
    """A message between the devices of a group, as often as a step sends it.

    shapes: dtype and dimensions of what a device puts in.
    n_bytes: what a device puts in, each time; `sent` is what leaves it.
    group: numbers of one group's devices in the order of the mesh.
    overlapped: whether other work was scheduled while it is under way; None: not said.
    """

    kind: str
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    n_bytes: int
    times: int
    group: tuple[int, ...]
    overlapped: bool | None = None

    @property
    def sent(self) -> float:
        """Bytes that leave a device each time, by the best ring."""
        n = len(self.group)
        share = {"all-gather": n - 1, "all-reduce": 2 * (n - 1) / n, "collective-permute": 1}
        return self.n_bytes * share.get(self.kind, (n - 1) / n)

    @property
    def dtypes(self) -> set[str]:
        return {dtype for dtype, _ in self.shapes}


@dataclass(frozen=True)
class Program:
    """flops: of all matrix products, attention kernels among them, over all pairs of tokens.
    attention_kernels: how often such a kernel runs."""

    collectives: tuple[Collective, ...]
    flops: float
    attention_kernels: int


def read_program(text: str) -> Program:
    """What a step of the program does, on each device.

    Args:
      text: of `compiled.as_text()`.

    Raises:
      ValueError: it has no entry computation.
    """
    computations, entry = _computations(text)
    if not entry:
        raise ValueError("not the text of a compiled program: it has no ENTRY")
    collectives: list[Collective] = []
    flops, kernels = 0.0, 0
    for name, times in _visits(computations, entry, 1):
        body = computations[name]
        types = {line.name: line.type for line in body}
        targets = {_target(line) for line in body}
        again = ENDS in targets or name.startswith(BESIDE)
        for i, line in enumerate(body):
            if (kind := line.opcode.removesuffix("-start")) in KINDS:
                if again:
                    continue
                scatters = kind == "all-reduce" and name.startswith("all-reduce-scatter")  # a TPU's fusion
                kind = "reduce-scatter" if scatters else kind
                overlapped = True if BEGINS in targets else _overlapped(body, i)
                collectives.append(_collective(kind, line, types, times, overlapped))
            elif line.opcode == "dot":
                flops += times * _dot_flops(line, types)
            elif line.opcode == "convolution":
                flops += times * _convolution_flops(line, types)
            elif products := _attention_products(line):
                flops += times * products * _attention_flops(line, types)
                kernels += times
    return Program(tuple(collectives), flops, kernels)


def _computations(text: str) -> tuple[dict[str, list[Instruction]], str]:
    found: dict[str, list[Instruction]] = {}
    current, entry = "", ""
    for line in re.sub(r"/\*.*?\*/", "", text).splitlines():
        if header := _HEADER.match(line):
            current = header[2]
            found[current] = []
            entry = current if header[1] else entry
        elif current and " = " in line and (instruction := _instruction(line)):
            found[current].append(instruction)
    return found, entry


def _instruction(line: str) -> Instruction | None:
    """A line's parts; the type of a tuple has parentheses within parentheses."""
    head, _, rest = line.strip().removeprefix("ROOT ").partition(" = ")
    end = _closing(rest) + 1 if rest.startswith("(") else rest.find(" ")
    opcode, parenthesis, after = rest[end:].strip().partition("(")
    return Instruction(head.removeprefix("%"), rest[:end], opcode, after) if parenthesis else None


def _closing(text: str) -> int:
    """Where the parenthesis closes with which the text begins."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return i
    return len(text)


def _visits(
    computations: Mapping[str, list[Instruction]], name: str, times: int
) -> Iterator[tuple[str, int]]:
    """Every computation that a run of this one enters, with how often."""
    yield name, times
    for line in computations[name]:
        inner = times
        if line.opcode == "while":
            inner = times * _trips(line, computations)
        elif line.opcode in ("reduce", "all-reduce", "all-reduce-start", "reduce-scatter", "sort", "scatter"):
            continue  # what they apply to pairs of numbers
        named = re.findall(
            r"(?:calls|body|to_apply|branch_computations)=\{?([^,}\s]*(?:, ?%[\w.\-]+)*)", line.rest
        )
        for called in re.findall(r"%?([\w.\-]+)", ",".join(named)):
            if called in computations:
                yield from _visits(computations, called, inner)


def _trips(line: Instruction, computations: Mapping[str, list[Instruction]]) -> int:
    """How often a loop runs: as GPUs' and CPUs' programs say, or else from 0 up to the number that its
    counter is compared with, by as much as the body adds to it (TPUs' programs do two rounds in one)."""
    if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', line.rest):
        return int(known[1])
    condition, body = (
        computations.get(found[1], []) if (found := re.search(rf"{name}=%?([\w.\-]+)", line.rest)) else []
        for name in ("condition", "body")
    )
    tests, rounds = ({each.name: each for each in lines} for lines in (condition, body))
    for each in condition:
        if each.opcode == "compare" and "direction=LT" in each.rest:
            counter, limit = (tests.get(name) for name in each.operands)
            place = re.search(r"index=(\d+)", counter.rest) if counter else None
            if place and limit and limit.opcode == "constant" and body[-1].opcode == "tuple":
                step = _added(body[-1].operands[int(place[1])], rounds)
                return -(-_constant(limit) // max(1, step))
    return 1


def _added(name: str, lines: Mapping[str, Instruction]) -> int:
    """What additions of constants, one upon the other, add to an array."""
    line = lines[name]
    if line.opcode == "constant":
        return _constant(line)
    return sum(_added(each, lines) for each in line.operands) if line.opcode == "add" else 0


def _constant(line: Instruction) -> int:
    return int(line.rest.partition(")")[0])


def shapes_of(text: str) -> list[tuple[str, tuple[int, ...]]]:
    """dtype and dimensions of each array of a type."""
    return [(dtype, tuple(map(int, filter(None, dims.split(","))))) for dtype, dims in _SHAPE.findall(text)]


def size_of(shapes: list[tuple[str, tuple[int, ...]]]) -> int:
    """Bytes of them all."""
    return sum(
        BYTES.get(dtype, 1 if dtype.startswith("f8") else 4) * math.prod(dims) for dtype, dims in shapes
    )


def _collective(
    kind: str, line: Instruction, types: Mapping[str, str], times: int, overlapped: bool | None
) -> Collective:
    shapes = [shape for name in line.operands for shape in shapes_of(types.get(name, ""))]
    return Collective(kind, tuple(shapes), size_of(shapes), times, _group(line.rest), overlapped)


def _overlapped(body: list[Instruction], i: int) -> bool | None:
    """Whether anything is computed between the beginning and the end of what `body[i]` begins."""
    if not body[i].opcode.endswith("-start"):
        return None
    for line in body[i + 1 :]:
        if line.opcode.endswith("-done") and body[i].name in line.operands:
            return False
        if line.opcode in ("fusion", "custom-call", "dot", "convolution", "while"):
            return True
    return None


def _group(rest: str) -> tuple[int, ...]:
    """Numbers of the devices of the first group, in any of XLA's notations."""
    if listed := re.search(r"(?:replica_groups|source_target_pairs)=\{\{([\d,]+)\}", rest):
        return tuple(map(int, listed[1].split(",")))
    if iota := re.search(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", rest):
        devices = _iota(iota[3], iota[4])
        return tuple(devices.reshape(int(iota[1]), int(iota[2]))[0].tolist())
    if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\]([^{]*)\{([^}]*)\}", rest):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", mesh[1]))
        order = re.search(r"device_ids=\(?\[([\d,]+)\](?:T\(([\d,]+)\))?", mesh[2])
        devices = _iota(order[1], order[2]) if order else np.arange(math.prod(map(int, sizes.values())))
        devices = devices.reshape([int(size) for size in sizes.values()])
        chosen = re.findall(r"'([^']+)'", mesh[3])
        return tuple(
            devices[tuple(slice(None) if axis in chosen else 0 for axis in sizes)].reshape(-1).tolist()
        )
    return (0,)


def _iota(sizes: str, order: str | None) -> np.ndarray:
    """0, 1, 2, … in these dimensions, these then in that order."""
    shape = tuple(map(int, sizes.split(",")))
    devices = np.arange(math.prod(shape)).reshape(shape)
    return devices.transpose(tuple(map(int, order.split(",")))) if order else devices


def _numbers(name: str, rest: str) -> list[int]:
    found = re.search(rf"{name}=\{{([\d,]*)\}}", rest)
    return [int(each) for each in found[1].split(",") if each] if found else []


def _dot_flops(line: Instruction, types: Mapping[str, str]) -> float:
    (_, out), (_, left) = shapes_of(line.type)[0], shapes_of(types[line.operands[0]])[0]
    return 2.0 * math.prod(out) * math.prod(left[i] for i in _numbers("lhs_contracting_dims", line.rest))


def _convolution_flops(line: Instruction, types: Mapping[str, str]) -> float:
    """Of a product in the form of a convolution, as TPUs have it; what meets only padding does not count."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", line.rest)
    if labels is None:
        return 0.0
    (_, out), (_, left), (_, right) = (
        shapes_of(text)[0] for text in (line.type, *(types[name] for name in line.operands[:2]))
    )
    window = {
        key: value.split("x")
        for key, value in re.findall(
            r"(\w+)=([\w\-]+)", (re.search(r"window=\{(.*?)\}", line.rest) or [""])[0]
        )
    }
    batch_groups = re.search(r"batch_group_count=(\d+)", line.rest)
    flops = 2.0 * out[labels[3].index("b")] * out[labels[3].index("f")] * right[labels[2].index("i")]
    flops /= int(batch_groups[1]) if batch_groups else 1
    for i in range(len(out) - 2):
        digit = str(i)
        n_out, n_in = out[labels[3].index(digit)], left[labels[1].index(digit)]
        n_right = right[labels[2].index(digit)]

        def setting(name: str, default: str, i: int = i) -> int:
            return int(window[name][i].split("_")[0]) if name in window else int(default)

        at = np.arange(n_out)[:, None] * setting("stride", "1") - setting("pad", "0")
        at = at + np.arange(n_right) * setting("rhs_dilate", "1")
        dilation = setting("lhs_dilate", "1")
        flops *= ((at >= 0) & (at <= (n_in - 1) * dilation) & (at % dilation == 0)).sum()
    return flops


def _target(line: Instruction) -> str:
    """What a custom call calls; "" for any other line."""
    found = re.search(r'custom_call_target="([^"]*)"', line.rest) if line.opcode == "custom-call" else None
    return found[1] if found else ""


def _attention_products(line: Instruction) -> int:
    """Matrix products of an attention kernel; 0 for any other line. TPU kernels are all called alike."""
    target = _target(line)
    called = line.name if target == "tpu_custom_call" else target
    return next((n for name, n in ATTENTION.items() if name in called), 0)


def _attention_flops(line: Instruction, types: Mapping[str, str]) -> float:
    """Of one of its products, over all pairs of tokens: 2 · rows · heads · T² · K."""
    shapes = [dims for name in line.operands for _, dims in shapes_of(types.get(name, "")) if len(dims) > 2]
    largest = max(shapes, key=math.prod, default=(0, 0, 0))
    # cuDNN's are [B,T,H,K] or [B,H,T,K], the splash kernel's [B,H,T,K], or [H,T,K] of one row; as a rule T
    # is more than H.
    return 2.0 * math.prod(largest) * max(largest[-3:-1])
