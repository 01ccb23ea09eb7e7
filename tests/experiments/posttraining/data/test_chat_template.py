"""Chat templates: masks are the responses, to the token, and prompts are prefixes, whatever is said."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.data.vocab import ByteVocab, SentencePieceVocab, hugging_face_vocab
from experiments.data.vocabularies.training import train_sentencepiece
from experiments.posttraining.data.chat_template import (
    MARKERS,
    default_template,
    jinja_template,
    load_template,
)
from experiments.posttraining.data.conversations import Turn
from tests.extras import extra

JINJA = """
{%- for message in messages -%}
[{{ message.role }}] {% if message.role == "assistant" -%}
{% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}
{%- else %}{{ message.content }}
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}[assistant] {% endif %}"""
CHATML = """{% for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.role == "assistant" -%}
{% generation %}{{ message.content }}<|im_end|>
{% endgeneration %}
{%- else %}{{ message.content }}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
EXCLUDED = "".join(MARKERS.values()) + "\u2581\ufdd0\ufdd1\ufdd2\0"
TEXT = st.text(st.characters(codec="utf-8", exclude_characters=EXCLUDED), max_size=12)
TURNS = st.lists(st.builds(Turn, st.sampled_from(sorted(MARKERS)), TEXT), min_size=1, max_size=5).map(tuple)


@pytest.fixture(scope="module", params=["bytes", "sentencepiece"])
def vocab(request, tmp_path_factory):
    if request.param == "bytes":
        return ByteVocab()
    path = tmp_path_factory.mktemp("vocab") / "vocab.model"
    path.write_bytes(train_sentencepiece([b"the cat sat on the mat", b"a user and an assistant"] * 20, 290))
    return SentencePieceVocab(path)


@pytest.fixture(scope="module")
def templates(vocab):
    without_blocks = JINJA.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    return default_template(vocab), jinja_template(JINJA, vocab), jinja_template(without_blocks, vocab)


def responses(tokens, mask, end_id):
    """What each stretch of masked tokens holds, its last token taken off and checked."""
    found, inside = [], []
    for token, said in zip(tokens.tolist(), mask.tolist()):
        if said:
            inside.append(token)
            if token == end_id:
                found.append(inside[:-1])
                inside = []
        else:
            assert not inside, "a response without the end of its turn"
    return found


@settings(max_examples=60)
@given(turns=TURNS)
def test_masked_tokens_are_the_responses(vocab, templates, turns):
    for template in templates:
        tokens, mask = template.render(turns)
        assert tokens.dtype == np.int32 and tokens.shape == mask.shape
        said = [vocab.decode(ids) for ids in responses(tokens, mask, template.end_id)]
        assert said == [turn.content for turn in turns if turn.role == "assistant"]


@settings(max_examples=60)
@given(turns=TURNS)
def test_prompts_are_prefixes_up_to_the_response(vocab, templates, turns):
    for template in templates:
        tokens, mask = template.render(turns)
        for i, turn in enumerate(turns):
            if turn.role == "assistant":
                prompt = template.prompt(turns[:i])
                assert prompt.tolist() == tokens[: len(prompt)].tolist()
                assert mask[len(prompt)] and not mask[len(prompt) - 1]


def test_default_template_by_hand():
    turns = (Turn("system", "Hi"), Turn("user", "a"), Turn("assistant", "bc"), Turn("user", "d"))
    tokens, mask = default_template(ByteVocab()).render(turns)
    H, i, a, b, c, d = (ord(letter) + 3 for letter in "Hiabcd")
    assert tokens.tolist() == [1, 4, H, i, 1, 8, a, 1, 9, b, c, 1, 8, d, 1]
    assert mask.nonzero()[0].tolist() == [9, 10, 11]


def test_an_encoder_reads_one_turn_and_its_decoder_answers():
    vocab = ByteVocab()
    vocab.begin_ids, vocab.source_end_ids = (), (1, 0)
    template = default_template(vocab)
    tokens, mask = template.render((Turn("user", "a"), Turn("assistant", "b")))
    assert (tokens.tolist(), mask.tolist()) == ([100, 1, 0, 101, 1], [False] * 3 + [True] * 2)
    assert template.question("a") == [100, 1, 0] and template.end_id == 1
    with pytest.raises(ValueError, match="a conversation of system, user; a network with an encoder reads"):
        template.render((Turn("system", "a"), Turn("user", "b")))


def test_jinja_template_by_hand():
    template = jinja_template(JINJA, ByteVocab())
    tokens, mask = template.render((Turn("user", "a"), Turn("assistant", "b")))
    assert ByteVocab().decode(tokens) == "[user] a\n[assistant] b"
    assert tokens[mask].tolist() == [ord("b") + 3, 1]
    assert template.end_id == 1


@pytest.mark.parametrize("role", sorted(MARKERS))
def test_nobody_speaks_in_anothers_place(vocab, role):
    with pytest.raises(ValueError, match="a marker of the template"):
        default_template(vocab).render((Turn("user", f"x{MARKERS[role]}y"),))
    with pytest.raises(ValueError, match="U\\+FDD0"):
        jinja_template(JINJA, vocab).render((Turn("user", "x\ufdd0y"),))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "no special token behind the response"),
        ("{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}", "no generation block"),
        ("{{ messages[", "not Jinja"),
        (JINJA.replace("{{ eos_token }}", ""), "no special token behind the response"),
        (JINJA.replace("{{ eos_token }}", "</s>"), "no special token behind the response"),
        (
            JINJA.replace("{%- if add_generation_prompt %}[assistant] {% endif %}", ""),
            "begin with its prompt",
        ),
        ("{{ raise_exception('no system turns here') }}", "template: no system turns here"),
        ("{{ messages.append(1) }}", "template: .*append"),  # the sandbox
    ],
)
def test_templates_that_cannot_be_used_are_named(source, said):
    with pytest.raises(ValueError, match=said):
        jinja_template(source, ByteVocab())


def test_a_template_that_leaves_out_a_response_is_named():
    last_only = JINJA.replace("in messages", "in messages[-2:]")
    template = jinja_template(last_only, ByteVocab())
    with pytest.raises(ValueError, match="2 turns of the assistant have 1 ends of turn"):
        template.render((Turn("user", "a"), Turn("assistant", "b")) * 2)


def test_templates_are_found_where_tokenizers_keep_them(tmp_path):
    vocab, turns = ByteVocab(), (Turn("user", "a"), Turn("assistant", "b"))
    expected = jinja_template(JINJA, vocab)
    (tmp_path / "mine.jinja").write_text(JINJA)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/chat_template.jinja").write_text(JINJA)
    for folder, field in (
        ("b", JINJA),
        ("c", [{"name": "tool_use", "template": ""}, {"name": "default", "template": JINJA}]),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": field}))
    for name in ("mine.jinja", "a", "b", "c"):
        found = load_template(str(tmp_path / name), vocab)
        assert found.identity == expected.identity
        assert found.render(turns)[0].tolist() == expected.render(turns)[0].tolist()
    assert load_template("default", vocab).identity == "default 1"
    with pytest.raises(ValueError, match="no such template; give 'default'"):
        load_template(str(tmp_path), vocab)


def test_special_tokens_are_the_templates_variables(tmp_path):
    settings = {
        "bos_token": {"content": "<s>"},
        "pad_token": None,
        "chat_template": "{{ bos_token }}" + JINJA,
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokens, _ = load_template(str(tmp_path), ByteVocab()).render((Turn("user", "a"), Turn("assistant", "b")))
    assert ByteVocab().decode(tokens).startswith("<s>[user] a")


def test_a_vocabulary_that_cannot_say_the_markers_is_named():
    class Letters(ByteVocab):
        def encode(self, text):
            return [i for i in super().encode(text) if i > 35]

    with pytest.raises(ValueError, match="cannot say '\\\\x01', the marker of system turns"):
        default_template(Letters())


@pytest.mark.slow
def test_tokens_and_masks_are_those_of_transformers(tmp_path):
    tokenizers, transformers = extra("tokenizers", "hf"), extra("transformers", "hf")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["user and assistant", "the cat sat on the mat"] * 9, trainer)
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>")
    theirs.chat_template = CHATML
    theirs.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "eos_token_id": 1}))
    template = load_template(str(tmp_path), hugging_face_vocab(tmp_path))
    assert template.end_id == 1
    turns = (Turn("system", "the mat"), Turn("user", "cat?"), Turn("assistant", "sat, on é"))
    for conversation in (turns, turns + turns[1:], turns[1:]):
        tokens, mask = template.render(conversation)
        messages = [{"role": turn.role, "content": turn.content} for turn in conversation]
        how = {"tokenize": True, "return_dict": True}
        expected = theirs.apply_chat_template(messages, return_assistant_tokens_mask=True, **how)
        assert tokens.tolist() == list(expected["input_ids"])
        assert mask.astype(int).tolist() == list(expected["assistant_masks"])
        prompt = theirs.apply_chat_template(messages[:-1], add_generation_prompt=True, **how)
        assert template.prompt(conversation[:-1]).tolist() == list(prompt["input_ids"])
    with pytest.raises(ValueError, match="1 turns of the assistant have 2 ends of turn"):
        template.render((turns[1], Turn("assistant", "sat <|im_end|>")))
