"""Parameters from folders: those a run has come to, and those a run starts from.

What a run starts from is copied into its folder when it begins. So it resumes, and its adapters can be read,
whatever becomes of the checkpoint it came from: its folder is all there is to it.
"""

import dataclasses
import functools
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding

import models
from experiments.config import Recipe, RunConfig
from experiments.data.vocab import load_vocab, with_own_tokenizer
from experiments.fields import from_json, to_json
from experiments.files import read_json
from experiments.objective import Objective
from experiments.objective_configs import ANY_MODEL, RewardConfig, learnt_reward
from experiments.posttraining.trainable import Trainable, trainable
from experiments.training.checkpoints.checkpoint import Checkpoints, Unreadable
from experiments.training.objectives import objective_of
from experiments.training.optim import hyperparameters, init_state
from models import ModelConfig, hf
from models.partial_training import leaves


@dataclass(frozen=True)
class Start:
    """What a run has when it begins: trees of parameters by name, "network" and "reward", and its recipe; and
    the optimizer's state, where that is kept."""

    recipe: Recipe
    trees: dict[str, Any] = field(default_factory=dict)
    opt_state: Any = None


def load(run: Path) -> tuple[RunConfig, Any]:
    """Configuration and network parameters of the newest checkpoint in a run's folder, adapters merged.

    Of a run with a reward or value model it is the network that reads and writes text.

    Raises:
      ValueError: `run` is no run directory, or has no readable checkpoint.
    """
    config, objective, params = load_whole(run)
    return config, objective.network(params)


def read_config(run: Path) -> RunConfig:
    """The configuration in a run's folder, an imported vocabulary being its own (`with_own_tokenizer`).

    Raises:
      ValueError: `run` is no run directory.
    """
    if not (run / "config.json").is_file():
        raise ValueError(f"{run} is not a run: it has no config.json; give a folder runs/<run_id> of a study")
    config = from_json(RunConfig, read_json(run / "config.json"))
    return dataclasses.replace(config, data=with_own_tokenizer(config.data, run))


def load_whole(run: Path) -> tuple[RunConfig, Objective, Any]:
    """As `load`, with the objective and its whole tree of parameters, heads included; raises as it does."""
    config = read_config(run)
    if not (run / "checkpoints").is_dir():
        raise ValueError(f"{run} has no checkpoints; train it first")
    begun = Start(config.recipe)
    if config.init is not None:
        begun = _read_start(config, run)
        if begun is None:
            raise ValueError(f"{run}/start, what the run began with, is missing; train it anew")
    objective, parts, like = _trained(config.model, begun.recipe)
    checkpoints = Checkpoints(run / "checkpoints")
    restored = checkpoints.restore(params=like)
    checkpoints.close()
    if restored is None:
        raise ValueError(f"{run} has no checkpoint that can be read; train it first")
    if not begun.trees:
        return config, objective, restored["params"]
    frozen = frozen_part(objective, parts, begun.trees["network"])
    return config, objective, parts.whole(restored["params"], frozen, hyperparameters(config))


def start(config: RunConfig, out: Path) -> Start:
    """What the run in the folder `out` starts from: its copy, made now if it is not there.

    Raises:
      ValueError: a checkpoint that cannot be read, is not the one that was planned with, or does not fit.
    """
    if config.init is None:
        return Start(config.recipe)
    if begun := _read_start(config, out):
        return begun
    recipe, source = _recipe(config), _source(config.init.source, out)
    is_run = "model_type" not in read_json(source / "config.json")
    found, network = load(source) if is_run else hf.load(source)
    _check_fits(config.model, found.model if isinstance(found, RunConfig) else found, source)
    seen = fingerprint(network)
    if config.init.fingerprint not in ("", seen):
        raise ValueError(
            f"init.source={config.init.source}: its parameters have changed since this was planned "
            f"({config.init.fingerprint[:12]}… then, {seen[:12]}… now); plan anew"
        )
    trees = {"network": network}
    meta: dict[str, Any] = {"source": config.init.source, "fingerprint": seen}
    if reward := learnt_reward(config.objective):
        folder = _source(reward, out)
        reward_config, _, trees["reward"] = load_whole(folder)
        if not isinstance(reward_config.objective, RewardConfig):
            raise ValueError(f"objective.reward={reward}: {folder} is not a reward model; train one first")
        meta["reward_run"] = to_json(reward_config)
        recipe = _with_reward_model(recipe, reward_config.model)
    opt_state = _kept_state(config, source, seen) if config.init.optimizer == "keep" else None
    checkpoints = Checkpoints(out / "start")
    checkpoints.save(0, trees, opt_state, meta)
    checkpoints.close()
    return Start(recipe, trees, opt_state)


def frozen_part(objective: Objective, parts: Trainable, network: Any) -> Any:
    """What a run does not train of the network that it starts from: the same arrays."""
    fresh = jax.eval_shape(objective.init, jax.random.key(0))  # always trained, so never among them
    return parts.frozen(objective.place(fresh, network))


def fingerprint(params: Any) -> str:
    """sha256 of a tree of parameters: paths, shapes and values."""
    digest = hashlib.sha256()
    for path, leaf in sorted(leaves(params).items()):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{'/'.join(path)} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _read_start(config: RunConfig, out: Path) -> Start | None:
    """The copy in a run's folder, or None where there is no whole one."""
    if not (out / "start" / "0").is_dir():
        return None
    checkpoints = Checkpoints(out / "start")
    try:
        meta = checkpoints.read(0, meta=None)["meta"]
        recipe, init = _recipe(config), models.build(config.model).init
        like = {"network": _shapes(init)}
        if "reward_run" in meta:
            reward_run = from_json(RunConfig, meta["reward_run"])
            recipe = _with_reward_model(recipe, reward_run.model)
            like["reward"] = _shapes(objective_of(models.build(reward_run.model), reward_run.recipe).init)
        if config.init is None or config.init.optimizer == "reset":
            return Start(recipe, checkpoints.read(0, params=like)["params"])
        found = checkpoints.read(0, params=like, opt_state=_state_shapes(config))
        return Start(recipe, found["params"], found["opt_state"])
    except Unreadable:
        return None
    finally:
        checkpoints.close()


def _kept_state(config: RunConfig, source: Path, seen: str) -> Any:
    """The optimizer's state of the checkpoint whose parameters have the fingerprint `seen`.

    Raises:
      ValueError: the source is no pretraining of all parameters by the same optimizer, or has no whole state.
    """
    about = read_json(source / "config.json")
    found = None if "model_type" in about else from_json(RunConfig, about)
    whole = found and found.objective is None and not (found.init and (found.init.train or found.init.lora))
    if not whole or found is None or found.optimizer.name != config.optimizer.name:
        raise ValueError(
            f"init.optimizer='keep': {source} is no run of pretraining by {config.optimizer.name}; start "
            "from one, or with optimizer='reset'"
        )
    checkpoints = Checkpoints(source / "checkpoints")
    like = _shapes(models.build(config.model).init)
    restored = checkpoints.restore(params=like, opt_state=_state_shapes(config))
    checkpoints.close()
    if restored is None or fingerprint(restored["params"]) != seen:
        raise ValueError(
            f"init.optimizer='keep': the optimizer's state in {source} cannot be read; start with 'reset'"
        )
    return restored["opt_state"]


@functools.cache
def _trained(model: ModelConfig, recipe: Recipe) -> tuple[Objective, Trainable, Any]:
    """What a run minimises, which part of the parameters it trains, and the shapes of that part: a study that
    reads many runs of a kind traces their network once."""
    objective = objective_of(models.build(model), recipe)
    parts = trainable(objective, recipe)
    return objective, parts, _shapes(lambda key: parts.trained(key, objective.init(key)))


def _state_shapes(config: RunConfig) -> Any:
    model = models.build(config.model)
    return _shapes(lambda key: init_state(config.optimizer.name, model, model.init(key)))


def _shapes(init: Any) -> Any:
    """What `init(key)` makes, as shapes on this process's first device, wherever it was trained."""
    one_device = SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one_device),
        jax.eval_shape(init, jax.random.key(0)),
    )


def _with_reward_model(recipe: Recipe, network: ModelConfig) -> Recipe:
    """The recipe of all runs whose reward model has this network: its parameters are arguments of the step,
    which is then compiled once, whichever they are."""
    objective: Any = recipe.objective
    return dataclasses.replace(
        recipe, objective=dataclasses.replace(objective, reward=ANY_MODEL), reward_model=network
    )


def _recipe(config: RunConfig) -> Recipe:
    """The run's recipe; where it samples, with the token that ends a text."""
    if not hasattr(config.objective, "max_new"):
        return config.recipe
    return dataclasses.replace(config.recipe, eos_id=load_vocab(config.data).eos_id)


def _source(source: str, out: Path) -> Path:
    """The folder of a checkpoint: of a run beside this one, or a path."""
    for folder in (out.parent / source, Path(source)):
        if (folder / "config.json").is_file():
            return folder
    raise ValueError(
        f"source {source!r} is no checkpoint: neither {out.parent / source} nor {source} has a config.json; "
        "give the id of a run of this study that is done, a run's folder, or a Hugging Face folder"
    )


def _check_fits(wanted: ModelConfig, found: ModelConfig, source: Path) -> None:
    """Refuses a checkpoint of another network; how it is computed (`dtype`, `remat`) may differ."""
    for name, value in vars(wanted).items():
        seen = getattr(found, name, "absent")
        if seen != value and name not in ("dtype", "remat"):
            raise ValueError(
                f"init.source: {source} is another network: {name}={seen!r} there and {value!r} in this "
                "run's model; give the run the model of its checkpoint"
            )
