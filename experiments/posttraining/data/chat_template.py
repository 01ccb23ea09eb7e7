"""Chat templates: a conversation as tokens, and which of them the assistant says.

The default template needs a vocabulary that can say control characters, as bytes and SentencePiece with byte
fallback can. A conversation begins as a document does, behind the token that ends one (EOS); a turn is a
character that says who speaks, the text, and EOS:

    EOS  U+0001 Be brief. EOS  U+0005 2 + 2? EOS  U+0006 4 EOS
         system                user               assistant

(ASCII's start of heading, enquiry and acknowledge). So a pretrained network meets turns as documents, which
it knows to end, and a turn costs two tokens. A text with such a character in it is refused, so nobody can
speak in another's place.

A Jinja template of a Hugging Face tokenizer renders text; what is between {% generation %} and
{% endgeneration %} is the assistant's, as in transformers' `apply_chat_template` with its
`return_assistant_tokens_mask`. Few templates have such blocks: in those without, what a turn of the assistant
adds to its prompt is the assistant's, up to white space at its end. Each stretch of text is tokenized by
itself, so no token lies across a border: masks are exact, and a prompt is a prefix of its conversation to the
token.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from experiments.data.vocab import Vocab, prompt_ids
from experiments.data.vocabularies.hugging_face import tokenizer_settings
from experiments.posttraining.data.conversations import Conversation, Turn

MARKERS = {"system": "\x01", "user": "\x05", "assistant": "\x06"}
# In what a Jinja template renders: generation blocks stand between the first two; the third is `eos_token` of
# vocabularies that have no text for it. Unicode's noncharacters "for internal use".
BEGIN, END, EOS = "\ufdd0", "\ufdd1", "\ufdd2"
PROBE = (Turn("user", "ping"), Turn("assistant", "pong"))

Part = tuple[list[int], bool]  # tokens, and whether the assistant says them


@dataclass(frozen=True)
class ChatTemplate:
    """parts(conversation, add_generation_prompt) -> tokens in stretches; `end_id` ends a response.

    `identity` is equal for templates that render alike.
    """

    identity: str
    end_id: int
    parts: Callable[[Conversation, bool], list[Part]]

    def render(self, conversation: Conversation) -> tuple[np.ndarray, np.ndarray]:
        """Tokens int32[n] and mask bool[n], True at the assistant's: each response and the end of its turn.

        Raises:
          ValueError: text that the template cannot hold.
        """
        return _joined(self.parts(conversation, False))

    def prompt(self, conversation: Conversation) -> np.ndarray:
        """Tokens int32[n] up to where the assistant speaks next; raises as `render`."""
        return _joined(self.parts(conversation, True))[0]

    def question(self, text: str) -> list[int]:
        """The prompt that a user's first turn makes."""
        return self.prompt((Turn("user", text),)).tolist()


def load_template(name: str, vocab: Vocab) -> ChatTemplate:
    """The template "default" or "gold", or a Jinja template: a file, or a folder of a Hugging Face tokenizer.

    Raises:
      ValueError: there is none, or one that cannot be used.
    """
    if name in NAMED:
        return NAMED[name](vocab)
    path = Path(name).expanduser()
    if path.is_file():
        return jinja_template(path.read_text(encoding="utf-8"), vocab, _special_tokens(path.parent))
    return jinja_template(_of_tokenizer(path), vocab, _special_tokens(path))


def has_template(folder: Path) -> bool:
    """Whether a folder holds a Jinja template, as a Hugging Face tokenizer's does."""
    return (folder / "chat_template.jinja").is_file() or bool(tokenizer_settings(folder).get("chat_template"))


def default_template(vocab: Vocab) -> ChatTemplate:
    """The template of this module; where prompts are sources of an encoder (T5), one turn of the user, which
    is the source, and one of the assistant.

    Raises:
      ValueError: a vocabulary that cannot say the markers.
    """
    if vocab.source_end_ids:
        return _source_and_target(vocab)
    ids = {role: vocab.encode(marker) for role, marker in MARKERS.items()}
    for role, marker in MARKERS.items():
        if vocab.decode(ids[role]) != marker:
            raise ValueError(
                f"template 'default': the vocabulary cannot say {marker!r}, the marker of {role} turns; "
                "give a Jinja template"
            )

    def parts(conversation: Conversation, add_generation_prompt: bool) -> list[Part]:
        found: list[Part] = [([vocab.eos_id], False)]
        for turn in conversation:
            if held := [marker for marker in MARKERS.values() if marker in turn.content]:
                raise ValueError(f"a turn has {held[0]!r} in its text, a marker of the template; take it out")
            found.append((ids[turn.role], False))
            found.append(([*vocab.encode(turn.content), vocab.eos_id], turn.role == "assistant"))
        return [*found, (ids["assistant"], False)] if add_generation_prompt else found

    return ChatTemplate("default 1", vocab.eos_id, parts)


def _source_and_target(vocab: Vocab) -> ChatTemplate:
    def parts(conversation: Conversation, add_generation_prompt: bool) -> list[Part]:
        if [turn.role for turn in conversation] not in (["user"], ["user", "assistant"]):
            raise ValueError(
                f"a conversation of {', '.join(turn.role for turn in conversation)}; a network with an "
                "encoder reads one turn of the user and answers it: give one of each, or a Jinja template"
            )
        found = [(prompt_ids(vocab, conversation[0].content), False)]
        return found + [([*vocab.encode(turn.content), vocab.eos_id], True) for turn in conversation[1:]]

    return ChatTemplate("source and target 1", vocab.eos_id, parts)


def gold_template(vocab: Vocab) -> ChatTemplate:
    """That of the gold world: turns follow each other without markers, EOS ends the assistant's."""

    def parts(conversation: Conversation, add_generation_prompt: bool) -> list[Part]:
        return [
            ([*vocab.encode(turn.content), vocab.eos_id], True)
            if turn.role == "assistant"
            else (vocab.encode(turn.content), False)
            for turn in conversation
        ]

    return ChatTemplate("gold 1", vocab.eos_id, parts)


NAMED = {"default": default_template, "gold": gold_template}


def jinja_template(source: str, vocab: Vocab, special: Mapping[str, str] | None = None) -> ChatTemplate:
    """A Jinja template in the sandbox, and with the settings, that transformers gives it.

    It cannot read today's date (`strftime_now`): data would depend on the day that they were prepared.

    Args:
      source: the template.
      vocab: what its text is tokenized with.
      special: the template's variables bos_token, eos_token and the like, texts that the vocabulary reads as
        special tokens. Without an eos_token it is the vocabulary's token that ends a document.

    Raises:
      ValueError: it is no template; its responses have no end of turn in their generation block, or behind
        them; or it renders a prompt that its conversation does not begin with.
    """
    render = _compile(source, {"eos_token": EOS} | dict(special or {}))
    if BEGIN not in render(PROBE, False):
        render = functools.partial(_with_blocks, render)

    def encode(text: str) -> list[int]:
        first, *others = (vocab.encode(piece) if piece else [] for piece in text.split(EOS))
        return first + [token for piece in others for token in (vocab.eos_id, *piece)]

    def parts(conversation: Conversation, add_generation_prompt: bool) -> list[Part]:
        for turn in conversation:
            if any(mark in turn.content for mark in (BEGIN, END, EOS)):
                raise ValueError(f"a turn has one of U+FDD0 to U+FDD2 in its text: {turn.content[:40]!r}")
        text = render(conversation, add_generation_prompt)
        found = [(encode(piece), said) for piece, said in _stretches(text)]
        n_ends = sum(tokens.count(end_id) for tokens, said in found if said)
        n_responses = sum(turn.role == "assistant" for turn in conversation)
        if n_ends != n_responses:
            raise ValueError(
                f"template: {n_responses} turns of the assistant have {n_ends} ends of turn in generation "
                "blocks; each response is one block, and its text holds no special tokens"
            )
        return found

    end_id = _end_of_turn(render, encode, vocab)
    template = ChatTemplate(f"jinja {hashlib.sha256(source.encode()).hexdigest()}", end_id, parts)
    (tokens, mask), prompt = template.render(PROBE), template.prompt(PROBE[:1])
    if prompt.tolist() != tokens[: len(prompt)].tolist() or mask.argmax() != len(prompt):
        raise ValueError(
            "template: a conversation does not begin with its prompt (add_generation_prompt), up to its "
            "generation block; a model would be asked in another form than it was taught"
        )
    return template


def _joined(parts: list[Part]) -> tuple[np.ndarray, np.ndarray]:
    tokens = [token for ids, _ in parts for token in ids]
    mask = [said for ids, said in parts for _ in ids]
    return np.array(tokens, np.int32), np.array(mask, bool)


def _compile(source: str, special: Mapping[str, str]) -> Callable[[Conversation, bool], str]:
    """The template as a function; text of generation blocks comes between BEGIN and END."""
    import jinja2  # here: the default template does without
    from jinja2 import nodes
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        tags: ClassVar[set[str]] = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("mark"), [], [], body).set_lineno(line)

        def mark(self, caller) -> str:
            return f"{BEGIN}{caller()}{END}"

    def refuse(message: str):
        raise jinja2.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(
            value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = refuse
    try:
        template = environment.from_string(source)
    except jinja2.TemplateError as error:
        raise ValueError(f"template: not Jinja ({error})") from None

    def render(conversation: Conversation, add_generation_prompt: bool) -> str:
        messages = [{"role": turn.role, "content": turn.content} for turn in conversation]
        try:
            return template.render(messages=messages, add_generation_prompt=add_generation_prompt, **special)
        except jinja2.TemplateError as error:
            raise ValueError(f"template: {error}") from None

    return render


def _with_blocks(
    render: Callable[[Conversation, bool], str], conversation: Conversation, add_generation_prompt: bool
) -> str:
    """What a template without generation blocks renders, with a block around each response: what its turn
    adds to its prompt.

    Raises:
      ValueError: a conversation up to a turn is not how the whole one begins.
    """
    text = render(conversation, add_generation_prompt)
    for i in reversed(range(len(conversation))):
        if conversation[i].role == "assistant":
            prompt, through = render(conversation[:i], True), render(conversation[: i + 1], False).rstrip()
            if not (through.startswith(prompt) and text.startswith(through)):
                raise ValueError(
                    "template: it has no generation block, and a conversation does not begin with the prompt "
                    "of its response (add_generation_prompt), so it does not say which tokens are the "
                    "assistant's; put {% generation %} and {% endgeneration %} around the response and the "
                    "end of its turn"
                )
            said = text[len(prompt) : len(through)]
            text = f"{text[: len(prompt)]}{BEGIN}{said}{END}{text[len(through) :]}"
    return text


def _stretches(text: str) -> Iterator[tuple[str, bool]]:
    """Rendered text cut at BEGIN and END: (stretch, whether the assistant says it)."""
    before, *rest = text.split(BEGIN)
    yield before, False
    for piece in rest:
        said, end, after = piece.partition(END)
        if not end or END in after:
            raise ValueError("template: a generation block inside another; one response is one block")
        yield said, True
        yield after, False


def _end_of_turn(
    render: Callable[[Conversation, bool], str], encode: Callable[[str], list[int]], vocab: Vocab
) -> int:
    """The token behind the text of a response in its generation block."""
    said = [text for text, said in _stretches(render(PROBE, False)) if said]
    ids = encode("".join(said).partition(PROBE[1].content)[2])
    if not ids or vocab.token_bytes()[ids[0]]:
        raise ValueError(
            "template: no special token behind the response, in its generation block, so a model would not "
            "learn to stop; put {% endgeneration %} behind the token that ends the turn, or {{ eos_token }}"
        )
    return ids[0]


def _of_tokenizer(folder: Path) -> str:
    """The template of a Hugging Face tokenizer: chat_template.jinja, or a field of tokenizer_config.json."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = tokenizer_settings(folder).get("chat_template")
    if isinstance(found, list):  # several, by name
        found = next((each["template"] for each in found if each.get("name") == "default"), None)
    if not isinstance(found, str):
        raise ValueError(
            f"template {str(folder)!r}: no such template; give 'default', a .jinja file, or a folder with "
            "chat_template.jinja or a tokenizer_config.json that has one"
        )
    return found


def _special_tokens(folder: Path) -> dict[str, str]:
    """bos_token and the like of a tokenizer_config.json, if there is one."""
    named = {name: value for name, value in tokenizer_settings(folder).items() if name.endswith("_token")}
    texts = {n: value.get("content") if isinstance(value, dict) else value for n, value in named.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str)}
