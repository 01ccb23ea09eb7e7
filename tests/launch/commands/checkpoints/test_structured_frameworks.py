"""What people use for structured generation, on a checkpoint that `isoflop export` wrote: outlines, guidance.

guidance 0.3.1 asks for another version of llguidance than ours, and reuses a transformers cache in a way that
transformers 5.24 refuses; `make test-all` installs it without what it requires, and each program here has a
model of its own.
"""

import json
import os
import re

import jsonschema
import pytest

from tests.extras import extra
from tests.tiny_run import isoflop

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cache_of_run")]
os.environ.update({"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"})
CODE = "[0-9]{3}-[a-f]{2}"
PERSON = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 9}, "ok": {"type": "boolean"}},
    "required": ["age", "ok"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """Network and tokenizer as transformers loads them, with room in the context."""
    transformers, folder = extra("transformers", "hf"), tmp_path_factory.mktemp("exported") / "hf"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISOFLOP_CACHE", str(run.parents[2] / "cache"))
        assert isoflop("export", str(run), "--out", str(folder)) == 0
    fields = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(fields | {"max_position_embeddings": 256}))
    extra("torch", "hf").manual_seed(0)
    return (
        transformers.AutoModelForCausalLM.from_pretrained(folder),
        transformers.AutoTokenizer.from_pretrained(folder),
    )


def test_outlines(exported):
    outlines, types = extra("outlines", "clients"), extra("outlines.types", "clients")
    model = outlines.from_transformers(*exported)
    how = {"max_new_tokens": 60, "do_sample": True}
    person = outlines.Generator(model, types.JsonSchema(json.dumps(PERSON)))("A person: ", **how)
    jsonschema.validate(json.loads(person), PERSON)
    assert re.fullmatch(CODE, outlines.Generator(model, types.Regex(CODE))("A code: ", **how))


def test_guidance(exported):
    guidance = extra("guidance", "clients")

    def said(program) -> str:
        return (guidance.models.Transformers(*exported, echo=False) + "Here: " + program)["it"]

    assert re.fullmatch(CODE, said(guidance.gen("it", regex=CODE, temperature=1.0)))
    person = said(guidance.json("it", schema=PERSON, temperature=1.0))
    jsonschema.validate(json.loads(person), PERSON)
    assert said(guidance.select(["red", "green"], name="it")) in ("red", "green")
