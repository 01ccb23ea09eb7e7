"""Shared fixtures: public tables, a tiny run; programs compiled quickly and once a session; no deadlines."""

import gc
import json
import os
import signal
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as prepare_process does; before numpy comes in
# Tests are of CPUs; compilers for accelerators, where installed, serve only if no accelerator is looked for.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# One compilation cache for the session: xdist's workers and the processes that tests start inherit it.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _xla = tempfile.TemporaryDirectory(prefix="isoflop-xla-", ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _xla.name
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each process that tests start compiles our modules anew

# Most programs run once: good machine code takes far longer to make than it saves. With that of users:
# JAX_DISABLE_MOST_OPTIMIZATIONS=0 XLA_FLAGS= make test. XLA ends the process at a flag that it does not know.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_cpu_parallel_codegen_split_count=1"
    + ("" if version("jaxlib") >= "0.12" else " --xla_cpu_use_fusion_emitters=false"),
)

import pytest
from hypothesis import settings

# What jax keeps of each program makes collections long, and little of it is garbage.
gc.set_threshold(50_000, 20, 50)

# Time is measured by benchmarks; on a busy machine a deadline only makes a sound test fail.
settings.register_profile("isoflop", deadline=None, max_examples=50)
settings.load_profile("isoflop")

# Files that take long, the longest first: one process must not be left with them when all others are done.
SLOW_FILES = (
    "experiments/studies/posttraining/test_whole_studies.py",
    "launch/accelerators/test_compiles.py",
    "experiments/studies/trust/test_structured_output.py",
    "models/test_sharding.py",
    "experiments/studies/data/test_model_made.py",
    "experiments/studies/trust/test_creativity.py",
    "experiments/studies/trust/test_capacity.py",
    "experiments/studies/data/test_poison.py",
    "launch/workers/test_multihost_worker.py",
    "experiments/training/test_processes.py",
    "models/families/test_contract.py",
    "launch/commands/studies/test_study.py",
    "models/decoding/test_sample.py",
    "test_examples.py",
    "test_handbook.py",
    "test_compatibility.py",
    "scaling/laws/test_laws.py",
    "models/decoding/constraints/test_constrained_sampling.py",
    "launch/commands/studies/test_train.py",
    "models/test_parametrization.py",
    "models/hf/test_hf.py",
    "experiments/training/memory/test_step_memory.py",
    "scaling/report/test_report.py",
    "scaling/fitting/test_fit.py",
    "models/configs/test_counting.py",
    "models/decoding/test_beam.py",
    "launch/test_hostile.py",
)


def pytest_collection_modifyitems(items):
    place = {Path(__file__).parent / name: k for k, name in enumerate(SLOW_FILES)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture(scope="session")
def public_data() -> Path:
    """Folder of public run tables and corpora (ISOFLOP_PUBLIC_DATA); tests that need it skip without it."""
    default = Path(__file__).parents[1] / "../shared/data"
    folder = Path(os.environ.get("ISOFLOP_PUBLIC_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no public data at {folder}; set ISOFLOP_PUBLIC_DATA")
    return folder.resolve()


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Drops what was compiled before it is too much: a process may map 65,530 pieces of memory, all programs
    of all tests together take more, and XLA crashes at that limit."""
    yield
    if (jax := sys.modules.get("jax")) and Path("/proc/self/maps").read_bytes().count(b"\n") > 30_000:
        jax.clear_caches()


@pytest.fixture(autouse=True, scope="module")
def heard_signals():
    """Training in this process blocks signals, for a listener of its own; what later tests start would
    inherit that, and not end when it is told to."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of an untrained run, the only one of its study."""
    from tests.tiny_run import make_study

    folder = tmp_path_factory.mktemp("tiny")
    return make_study(folder / "study", folder / "cache")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """The token caches that tests share."""
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture
def prepares_here(prepared, monkeypatch):
    """Corpora are prepared once, and by this process, which imports TensorFlow once, where a process for
    each of them would import it anew: ten seconds a study."""
    from experiments.data import prepare
    from experiments.fields import to_json

    def in_this_process(configs, root):
        request = {"configs": [to_json(config) for config in configs], "root": str(root), "code": []}
        assert prepare.main(json.dumps(request)) == 0

    monkeypatch.setenv("ISOFLOP_CACHE", str(prepared))
    monkeypatch.setattr(prepare, "_prepare_in_subprocess", in_this_process)


@pytest.fixture
def cache_of_run(run, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(run.parents[2] / "cache"))
