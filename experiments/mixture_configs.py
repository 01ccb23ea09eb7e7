"""What a corpus is put together from, and how often each component of it is read, described by data."""

import math
import re
from dataclasses import dataclass

from experiments.fields import Numbers

NONE = Numbers()
NAME = re.compile(r"[^\s,=/]([^,=/\n]*[^\s,=/])?")


def check_name(name: str, where: str) -> str:
    """The name of a component; it becomes part of names of columns.

    Raises:
      ValueError: empty, or with a character that tables and laws give a meaning.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{where}={name!r} cannot name a component: names have no comma, = or /")
    return name


@dataclass(frozen=True)
class SourceConfig:
    """A component of task "mixture".

    name: of the component, as in `share_NAME`.
    task, path, text_field: where its text comes from, as of `DataConfig`.
    where: "field=value" or "field=value|value": only records whose field has such a value; "": all of them.
    """

    name: str
    task: str = "files"
    path: str = ""
    where: str = ""
    text_field: str = "text"

    def __post_init__(self):
        check_name(self.name, "source: name")
        field, equals, value = self.where.partition("=")
        if self.where and not (field and equals and value):
            raise ValueError(f"source {self.name}: where={self.where!r}; write field=value|value")


@dataclass(frozen=True)
class MixtureConfig:
    """How often each component of a corpus is read: settings of a run, not of the prepared tokens.

    weights: by component; shares of the training rows are proportional to them, and a component that is not
      named is not read. {}: shares follow from the components' tokens n, by one of the next two.
    temperature: shares are proportional to n^(1 / temperature): 1 is as much as there is, inf equal shares
      (Arivazhagan et al. 2019). Papers that write n^α mean temperature = 1 / α.
    max_epochs: above 0, UniMax instead (Chung et al. 2023): equal shares, but none is read more often than
      this. It depends on the run's n_tokens.
    unique_tokens: by component, at most so many of its tokens are read, again and again; those of a smaller
      number are among those of a larger.
    """

    weights: Numbers = NONE
    temperature: float = 1.0
    max_epochs: float = 0.0
    unique_tokens: Numbers = NONE

    def __post_init__(self):
        for name, weight in self.weights.items():
            if not 0 <= weight < math.inf:
                raise ValueError(
                    f"mixture: weights.{name}={weight}; weights are proportions: finite, and at least 0"
                )
        if self.weights and not any(self.weights.values()):
            raise ValueError(f"mixture: all weights are 0 ({', '.join(self.weights)}); nothing would be read")
        if not self.temperature > 0:
            raise ValueError(f"mixture: temperature={self.temperature}; it must be above 0")
        if not 0 <= self.max_epochs < math.inf:
            raise ValueError(f"mixture: max_epochs={self.max_epochs}; it must be above 0, or 0 for no UniMax")
        if bool(self.weights) + (self.temperature != 1) + (self.max_epochs > 0) > 1:
            raise ValueError("mixture: weights, temperature and max_epochs exclude each other; give one")
        for name, n in self.unique_tokens.items():
            if not n >= 1:
                raise ValueError(f"mixture: unique_tokens.{name}={n}; it must be at least 1")
