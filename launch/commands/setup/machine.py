"""What a machine has for studies, and what stands in their way."""

import glob
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.data.cache import cache_root
from experiments.files.extras import EXTRAS, ROOT, install_command
from launch.monitor.text import short
from launch.workers.pool import machine_slots

SHOWN = 8  # libraries of other versions
SECONDS = 2.0  # for a scheduler to answer
LITTLE_DISK, NO_DISK = 5e9, 2e8  # bytes
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CHANGES_JAX = {  # settings that surprise whoever forgot them
    "JAX_PLATFORMS": "jax uses no other devices",
    "JAX_ENABLE_X64": "models may compute in float64, at half the speed",
    "JAX_DISABLE_JIT": "nothing is compiled: everything is very slow",
    "JAX_DEBUG_NANS": "each step is checked: slower, and divergence is an error instead of a result",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "compiled programs are slow",
    "XLA_FLAGS": "changes what is compiled",
    "CUDA_VISIBLE_DEVICES": "hides other GPUs",
}


@dataclass(frozen=True)
class Finding:
    """state: "ok", "look" (may be meant so), "wrong", "none" (not there, nor needed). command: what helps."""

    state: str
    name: str
    text: str
    command: str = ""


def examine(environment: Mapping[str, str]) -> list[Finding]:
    """Everything, in order. Imports jax and starts its devices.

    Args:
      environment: as it was before this process was prepared.
    """
    findings: list[Finding] = []
    for check in (versions, devices, threads, caches, disk, slurm, kubernetes, extras):
        try:
            findings += check(environment)
        except Exception as error:  # what one of them meets must not hide the others
            findings.append(Finding("wrong", check.__name__, f"{type(error).__name__}: {error}"))
    return findings


def as_text(finding: Finding, width: int) -> str:
    """The finding in lines of at most `width` characters; its command on a line of its own, to be copied."""
    head = f"{finding.state:<6}{finding.name:<13}"
    indent = " " * len(head)
    lines = textwrap.wrap(
        head + finding.text,
        width,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
    return "\n".join([*lines, *([indent + finding.command] if finding.command else [])])


def versions(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Python, isoflop and jax; and the installed libraries against constraints.txt, in a clone."""
    named = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("isoflop", "jax", "jaxlib"))
    known = (3, 11) <= sys.version_info[:2] < (3, 14)
    python = f"Python {platform.python_version()}" + ("" if known else " (tested are 3.11 to 3.13)")
    yield Finding("ok" if known else "look", "versions", f"{named}, {python}")
    file = ROOT / "constraints.txt"
    if file.is_file():
        there = {each.name.lower(): each.version for each in importlib.metadata.distributions() if each.name}
        pinned = {name: version for name, version in constraints(file.read_text()).items() if name in there}
        differ = [f"{n} {there[n]} (tested: {v})" for n, v in sorted(pinned.items()) if there[n] != v]
        if differ:
            more = f", and {len(differ) - SHOWN} more" if len(differ) > SHOWN else ""
            text = f"{', '.join(differ[:SHOWN])}{more}. The tested ones come by"
            yield Finding("look", "constraints", text, install_command(""))
        else:
            yield Finding(
                "ok", "constraints", f"{len(pinned)} libraries are here as constraints.txt has them"
            )


def constraints(text: str) -> dict[str, str]:
    """Version by name in lower case, of the lines of a constraints file that are for this Python."""
    from packaging.requirements import Requirement

    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    wanted = [Requirement(line) for line in lines if line]
    return {
        each.name.lower(): next(iter(each.specifier)).version
        for each in wanted
        if each.marker is None or each.marker.evaluate()
    }


def devices(environment: Mapping[str, str]) -> Iterator[Finding]:
    """What jax trains on, with its memory, and settings that change that."""
    import jax

    from models.sharding import device_memory

    found, n_gpus = jax.devices(), len(glob.glob("/dev/nvidia[0-9]*"))
    on_cpu = found[0].platform == "cpu"
    kind = "the CPU, no GPU or TPU" if on_cpu else f"{len(found)} × {found[0].device_kind}"
    yield Finding("ok", "devices", f"{kind}; {_bytes(device_memory())} of memory{'' if on_cpu else ' each'}")
    if on_cpu and n_gpus and "cpu" not in environment.get("JAX_PLATFORMS", ""):
        text = f"{n_gpus} NVIDIA GPUs are here that jax does not see. It needs"
        yield Finding("wrong", "GPUs", text, install_command("cuda"))
    for name, effect in CHANGES_JAX.items():
        if value := environment.get(name):
            yield Finding("look", name, f"is set to {value!r}: {effect}")


def threads(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Cores that this process may use, a container's share of time, and numpy's threads."""
    n_cores, n_workers = os.cpu_count() or 1, len(machine_slots())
    yield Finding("ok", "cores", f"{n_cores}; {n_workers} worker{'s' * (n_workers > 1)} at a time by default")
    if (load := os.getloadavg()[0]) > 1.5 * n_cores:
        yield Finding("look", "load", f"{load:.1f} processes want {n_cores} cores: times say little now")
    many = [f"{name}={environment[name]}" for name in THREADS if environment.get(name, "1") not in ("", "1")]
    if many:
        text = f"{', '.join(many)}: each worker starts as many, and they take each other's cores; unset them"
        yield Finding("look", "threads", text)
    else:
        yield Finding("ok", "threads", "one BLAS thread a worker: numpy's matrices are small here")


def caches(environment: Mapping[str, str]) -> Iterator[Finding]:
    """The prepared data and the compiled programs: where, how much, and whether they can be written."""
    compiled = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    for name, folder, variable in (
        ("data", cache_root(None), "ISOFLOP_CACHE"),
        ("compiled", compiled, "JAX_COMPILATION_CACHE_DIR"),
    ):
        if os.access(_nearest(folder), os.W_OK):
            yield Finding("ok", name, f"{folder}: {_entries(folder)}")
        else:
            yield Finding("wrong", name, f"{folder} cannot be written: set {variable} to another folder")


def disk(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Free space for studies here and for the caches."""
    places = {os.stat(path).st_dev: path for path in (_nearest(cache_root(None)), Path.cwd())}
    for path in places.values():
        free = shutil.disk_usage(path).free
        state = "wrong" if free < NO_DISK else "look" if free < LITTLE_DISK else "ok"
        advice = "" if state == "ok" else ": make room; a run's checkpoints are kept (`isoflop gc DIR`)"
        yield Finding(state, "disk", f"{_bytes(free)} free in {path}{advice}")


def slurm(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether Slurm's commands are here and its controller answers."""
    if not shutil.which("sbatch"):
        yield Finding("none", "Slurm", "not here (no sbatch)")
        return
    try:
        ran = subprocess.run(["scontrol", "ping"], capture_output=True, text=True, timeout=SECONDS)
        said = (ran.stdout + ran.stderr).strip().splitlines() or ["nothing"]
        up = ran.returncode == 0 and "UP" in ran.stdout
    except (OSError, subprocess.TimeoutExpired):
        said, up = [f"no answer within {SECONDS:.0f} s"], False
    text = said[0] if up else f"sbatch is here, its controller is not reached: {said[0]}"
    yield Finding("ok" if up else "look", "Slurm", text)


def kubernetes(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether a cluster is configured and answers."""
    given = environment.get("KUBECONFIG", "").split(os.pathsep)[0]
    config_file = Path(given) if given else Path.home() / ".kube" / "config"
    if not (config_file.is_file() or SERVICE_ACCOUNT.is_dir()):
        yield Finding("none", "Kubernetes", f"no cluster is configured ({config_file})")
    elif not importlib.util.find_spec("kubernetes"):
        text = "a cluster is configured, but its client is not installed. It comes by"
        yield Finding("look", "Kubernetes", text, install_command("kubernetes"))
    else:
        yield _cluster()


def _cluster() -> Finding:
    client: Any = importlib.import_module("kubernetes.client")
    config: Any = importlib.import_module("kubernetes.config")
    try:
        config.load_config()
        version = client.VersionApi().get_code(_request_timeout=SECONDS)
        return Finding("ok", "Kubernetes", f"{version.git_version} answers")
    except Exception as error:  # of the client, of the network, of the file
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Finding("look", "Kubernetes", f"configured, but it does not answer: {why[:120]}")


def extras(environment: Mapping[str, str]) -> Iterator[Finding]:
    """What isoflop can do without: what is there, what is not, and how to get it."""
    missing = {
        name: extra
        for name, extra in EXTRAS.items()
        if not all(importlib.util.find_spec(module) for module in extra.modules)
    }
    there = [name for name in EXTRAS if name not in missing]
    yield Finding("ok", "extras", ", ".join(there) or "none is installed")
    if missing:
        named = "; ".join(f"{name} ({extra.purpose})" for name, extra in missing.items())
        yield Finding("none", "other extras", f"{named}. Each comes by", install_command("EXTRA"))


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())


def _entries(folder: Path) -> str:
    if not folder.is_dir():
        return "empty so far"
    n_bytes = n_files = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            n_files += 1
            n_bytes += os.lstat(os.path.join(parent, name)).st_size
    return f"{n_files:,} files, {_bytes(n_bytes)}"


def _bytes(n: float) -> str:
    """13631488 -> "13.6MB"."""
    return short(float(n)).replace("B", "G") + "B"
