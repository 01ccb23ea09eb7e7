"""JSON by prompt alone, by repair and by constraint: how much is valid, at how many tokens, in what time.

Each schema is asked for in words. "prompt" takes what the model writes; "repair" has a library mend the same
texts (json-repair: closes, quotes and cuts what is not JSON); "constrained" samples under the schema.

Example:
  python -m experiments.evaluate.structured.json_documents out/quickstart --schemas schemas.jsonl --out form
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import json_repair
import jsonschema
import pandas as pd
from absl import flags

from experiments.data.vocab import prompt_ids
from experiments.evaluate.loaded_model import LoadedModel, load_model
from experiments.files import write_atomic
from models.decoding.constraints.constrained_sampling import sample_constrained
from models.decoding.constraints.masks import Vocabulary, json_schema
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings

PROMPT, REPAIR, CONSTRAINED = "prompt", "repair", "constrained"


@dataclass(frozen=True)
class DocumentSampling:
    """How documents are asked for: `n` of each schema, of at most `max_tokens` tokens."""

    n: int = 4
    max_tokens: int = 512
    temperature: float = 1.0
    seed: int = 0


def compare(loaded: LoadedModel, schemas: dict[str, Any], asked: DocumentSampling) -> pd.DataFrame:
    """A row for each method and schema: method, schema, valid (fraction of the documents), tokens and seconds
    of a document (its share of a batch that all schemas make together, compiling left out).

    Raises:
      ValueError: a schema that cannot be enforced, by its name, before anything is computed; a vocabulary
        that cannot spell every text.
    """
    said = loaded.token_bytes()
    vocabulary, constraints = Vocabulary(said, loaded.vocab.eos_id), []
    for name, schema in schemas.items():
        try:
            constraints.append(json_schema(schema, vocabulary))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    words = [f"A JSON document of the schema {json.dumps(schema)}:\n" for schema in schemas.values()]
    prompts = [prompt_ids(loaded.vocab, text) for text in words]
    seeds = [asked.seed + i for i in range(len(prompts))]
    settings = SamplingSettings(temperature=asked.temperature)
    model, params = loaded.model, loaded.params
    limits: dict[str, Any] = {"n": asked.n, "max_tokens": asked.max_tokens, "context": loaded.config.seq_len}

    plain, plain_seconds = timed(
        lambda: sample(
            model, params, prompts, seeds, settings, eos_id=loaded.vocab.eos_id, token_bytes=said, **limits
        )
    )
    began = time.perf_counter()
    mended = [[repaired(one.text or "") for one in some] for some in plain]
    mending = time.perf_counter() - began
    held, held_seconds = timed(
        lambda: sample_constrained(model, params, prompts, seeds, settings, constraints, **limits)
    )
    texts = {
        PROMPT: [[one.text or "" for one in some] for some in plain],
        REPAIR: mended,
        CONSTRAINED: [[one.text for one in some] for some in held],
    }
    took = {PROMPT: plain_seconds, REPAIR: plain_seconds + mending, CONSTRAINED: held_seconds}
    rows = []
    for method, of_schemas in texts.items():
        responses = held if method == CONSTRAINED else plain
        for (name, schema), some, documents in zip(schemas.items(), responses, of_schemas):
            row: dict[str, Any] = {"method": method, "schema": name}
            row["valid"] = sum(is_valid(text, schema) for text in documents) / asked.n
            row["tokens"] = sum(len(one.tokens) for one in some) / asked.n
            rows.append(row | {"seconds": took[method] / (asked.n * len(schemas))})
    return pd.DataFrame(rows)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns and the seconds it takes once everything is compiled."""
    call()
    began = time.perf_counter()
    return call(), time.perf_counter() - began


def repaired(text: str) -> str:
    """The nearest JSON that json-repair finds."""
    return json.dumps(json_repair.loads(text))


def is_valid(text: str, schema: Any) -> bool:
    """Whether the text is one JSON document, valid under the schema."""
    try:
        document = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return False
    return jsonschema.Draft202012Validator(schema).is_valid(document)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """The means over all schemas, a row a method."""
    columns = ["valid", "tokens", "seconds"]
    return pd.DataFrame(table.groupby("method", sort=False)[columns].mean()).reset_index()


def read_schemas(path: Path) -> dict[str, Any]:
    """Schemas of a file, one JSON object with "schema" (and "id", else its line) a line.

    Raises:
      ValueError: a line that is no such object, or none at all.
    """
    found = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            one = json.loads(line)
            found[str(one.get("id", number))] = one["schema"]
        except (json.JSONDecodeError, AttributeError, KeyError):
            raise ValueError(f'{path}, line {number}: expected an object with "schema"') from None
    if not found:
        raise ValueError(f"{path} has no schema")
    return found


FLAGS = flags.FlagValues()
flags.DEFINE_string("schemas", None, 'file of schemas, {"id": …, "schema": …} a line', flag_values=FLAGS)
flags.DEFINE_string("out", None, "folder of the results", flag_values=FLAGS)
flags.DEFINE_integer("n", DocumentSampling.n, "documents of each schema", flag_values=FLAGS)
flags.DEFINE_integer(
    "max_tokens", DocumentSampling.max_tokens, "longest document, in tokens", flag_values=FLAGS
)
flags.DEFINE_float("temperature", DocumentSampling.temperature, "divides the logits", flag_values=FLAGS)
flags.DEFINE_integer("seed", DocumentSampling.seed, "seed of the random draws", flag_values=FLAGS)


def main(arguments: Sequence[str]) -> int:
    """Writes structured.csv and prints the means over schemas; 2 if the arguments are wrong."""
    try:
        rest = FLAGS(arguments)[1:]
        if len(rest) != 1 or not FLAGS.schemas or not FLAGS.out:
            raise ValueError(f"expected CKPT --schemas FILE --out DIR, got {list(arguments[1:])}")
        schemas = read_schemas(Path(FLAGS.schemas))
        asked = DocumentSampling(FLAGS.n, FLAGS.max_tokens, FLAGS.temperature, FLAGS.seed)
        table = compare(load_model(Path(rest[0])), schemas, asked)
    except (ValueError, OSError, flags.Error) as error:
        print(f"structured: {error}", file=sys.stderr)
        return 2
    Path(FLAGS.out).mkdir(parents=True, exist_ok=True)
    write_atomic(Path(FLAGS.out) / "structured.csv", table.to_csv(index=False))
    print(summary(table).to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
