"""Routes of the server, who may use them, and how answers are sent: at once, or as server-sent events."""

import asyncio
import contextlib
import functools
import json
import secrets
import signal
import sys
import time
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

from aiohttp import web

from experiments.data.vocab import Vocab, prompt_ids
from experiments.evaluate.loaded_model import LoadedModel, chat_template
from experiments.posttraining.data.chat_template import ChatTemplate
from launch.serve import answers, protocol
from launch.serve.access import may_ask
from launch.serve.answers import Head, Piece
from launch.serve.engine import Engine, Question
from launch.serve.protocol import Request, RequestError

MAX_BODY = 16 * 2**20  # bytes
MAX_WAITING = 4096  # rows that are decoded or wait, beyond which nothing more is taken
KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "server_error",
}


class Server:
    """A checkpoint, its engine, and what was made of its vocabulary."""

    def __init__(self, loaded: LoadedModel, engine: Engine, token: str | None):
        """What the routes need.

        Args:
          loaded: the checkpoint.
          engine: at work on it.
          token: of access; None: everyone has it.
        """
        self.loaded, self.engine, self.token = loaded, engine, token
        self.name, self.created = loaded.folder.resolve().name, int(time.time())
        self._constraint = functools.lru_cache(maxsize=64)(self._new_constraint)
        self._vocabulary = functools.lru_cache(maxsize=2)(self._new_vocabulary)

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._errors, self._access], client_max_size=MAX_BODY)
        app.add_routes(
            [
                web.get("/v1/models", self._models),
                web.get("/v1/models/{name}", self._model),
                web.post("/v1/completions", self._completions),
                web.post("/v1/chat/completions", self._chat),
            ]
        )
        return app

    @web.middleware
    async def _errors(self, request: web.Request, handler) -> web.StreamResponse:
        """Whatever goes wrong is an error object."""
        try:
            return await handler(request)
        except web.HTTPException as error:
            status, body = error.status, answers.error(f"{error.status}: {error.reason}", _kind(error.status))
        except Exception as error:
            status, body = _as_error(error)
        return web.json_response(body, status=status)

    @web.middleware
    async def _access(self, request: web.Request, handler) -> web.StreamResponse:
        if not may_ask(self.token, request.headers.get("Authorization", ""), request.url.host or ""):
            if self.token is None:
                raise RequestError("without a token this server answers to localhost alone", status=403)
            raise RequestError("no such token; send it as your API key", None, 401, "invalid_api_key")
        return await handler(request)

    def _about(self) -> dict[str, Any]:
        return {"id": self.name, "object": "model", "created": self.created, "owned_by": "isoflop"}

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [self._about()]})

    async def _model(self, request: web.Request) -> web.Response:
        self._check_name(request.match_info["name"])
        return web.json_response(self._about())

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        asked, vocab = protocol.read_completion(await _body(request)), self.loaded.vocab
        texts = [_begun(vocab, one) if isinstance(one, str) else (list(one), 0) for one in asked.prompts]
        return await self._answer(request, asked, texts, vocab.eos_id)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        asked = protocol.read_chat(await _body(request))
        try:
            prompt = self._template.prompt(asked.conversation).tolist()
        except ValueError as error:
            raise RequestError(str(error), "messages") from None
        return await self._answer(request, asked, [(prompt, 0)], self._template.end_id)

    @functools.cached_property
    def _template(self) -> ChatTemplate:
        try:
            return chat_template(self.loaded)
        except ValueError as error:
            reason = str(error).removeprefix("--chat: ").partition("; `isoflop sft`")[0]
            raise RequestError(f"{reason}; ask /v1/completions", code="no_chat_template") from None

    async def _answer(
        self, request: web.Request, asked: Request, prompts: Sequence[tuple[list[int], int]], eos_id: int
    ) -> web.StreamResponse:
        self._check_name(asked.model)
        questions = await self._questions(asked, prompts, eos_id)
        of_chat = bool(asked.conversation)
        head = Head(
            f"{'chatcmpl' if of_chat else 'cmpl'}-{secrets.token_hex(12)}",
            int(time.time()),
            self.name,
            of_chat,
            asked.top,
            self.engine.token_bytes,
        )
        n_prompt = sum(len(prompt) for prompt, _ in prompts)
        async with contextlib.aclosing(self._pieces(questions)) as pieces:
            if asked.stream:
                return await _stream(request, asked, head, pieces, n_prompt)
            found = [piece async for piece in pieces]
        return web.json_response(answers.response(head, found, answers.usage(n_prompt, found)))

    async def _questions(self, asked: Request, prompts, eos_id: int) -> list[Question]:
        """One of each prompt, checked against the network.

        Raises:
          RequestError: a prompt too long, a token that is not there, a form that cannot be enforced.
        """
        context, vocab_size = self.loaded.config.seq_len, self.loaded.model.config.vocab_size
        if self.engine.n_open + asked.n * len(prompts) > MAX_WAITING:
            raise RequestError("too many requests wait for an answer; ask again later", status=429)
        try:
            asked.settings.arrays(vocab_size)  # here: in the batch it would end the requests of others
        except ValueError as error:
            raise RequestError(str(error), "logit_bias") from None
        constraint = None
        if asked.schema is not None:
            constraint = await asyncio.to_thread(self._constraint, json.dumps(asked.schema), eos_id)
        questions = []
        for prompt, hidden in prompts:
            if not 0 <= min(prompt) <= max(prompt) < vocab_size:
                raise RequestError(f"prompt: the vocabulary is 0 to {vocab_size - 1}", "prompt")
            most = max(1, context - len(prompt)) if asked.max_tokens is None else asked.max_tokens
            if len(prompt) + most > context:
                raise RequestError(
                    f"{len(prompt)} tokens of the prompt and {most} to be made; this checkpoint was trained "
                    f"on {context} at a time",
                    "messages" if asked.conversation else "prompt",
                    code="context_length_exceeded",
                )
            questions.append(
                Question(
                    tuple(prompt), secrets.randbits(32) if asked.seed is None else asked.seed, most, eos_id,
                    asked.settings, n=asked.n, first_index=len(questions) * asked.n, stop=asked.stop,
                    constraint=constraint, echo=asked.echo, scored=asked.top is not None, hidden=hidden,
                )
            )  # fmt: skip
        return questions

    async def _pieces(self, questions: Sequence[Question]) -> AsyncGenerator[Piece]:
        """What the engine reports, until every choice has ended; gives up its places if nobody listens on."""
        loop, reports = asyncio.get_running_loop(), asyncio.Queue()
        asked = self.engine.submit(questions, lambda one: loop.call_soon_threadsafe(reports.put_nowait, one))
        left = sum(question.n for question in questions)
        try:
            while left:
                piece = await reports.get()
                if isinstance(piece, Exception):
                    raise piece
                left -= piece.finish is not None
                yield piece
        finally:
            if left:
                self.engine.cancel(asked)

    def _check_name(self, name: str) -> None:
        if name != self.name:
            raise RequestError(
                f"no model {name!r}; this server has {self.name!r}", "model", 404, "model_not_found"
            )

    def _new_constraint(self, schema: str, eos_id: int):
        try:
            from models.decoding.constraints import masks  # here: llguidance is not needed else

            return masks.json_schema(json.loads(schema), self._vocabulary(eos_id))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise RequestError(f"response_format: {error}", "response_format") from None

    def _new_vocabulary(self, eos_id: int):
        from models.decoding.constraints import masks

        return masks.Vocabulary(self.engine.token_bytes, eos_id)


async def _body(request: web.Request) -> Any:
    if request.content_type != "application/json":  # which a page of another site cannot send unasked
        raise RequestError(f"Content-Type is {request.content_type}; send application/json")
    try:
        return await request.json()
    except (ValueError, LookupError, RecursionError) as error:  # LookupError: of a charset that there is not
        raise RequestError(f"the body is no JSON: {error}") from None


def _begun(vocab: Vocab, text: str) -> tuple[list[int], int]:
    """A prompt's ids, and how many of them are not the text's."""
    ids = prompt_ids(vocab, text)
    return ids, len(ids) - len(vocab.encode(text))


async def _stream(
    request: web.Request, asked: Request, head: Head, pieces: AsyncIterator[Piece], n_prompt: int
) -> web.StreamResponse:
    """Sends an event for each piece; what goes wrong on the way is the last one."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})

    async def send(event: Any) -> None:
        await response.write(f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode())

    async def send_all() -> None:
        seen, begun = [], set()
        async for piece in pieces:
            if head.chat and piece.index not in begun:
                begun.add(piece.index)
                await send(answers.role_chunk(head, piece.index))
            await send(answers.chunk(head, piece))
            seen.append(piece)
        if asked.include_usage:
            await send(answers.usage_chunk(head, answers.usage(n_prompt, seen)))
        await send("[DONE]")

    with contextlib.suppress(ConnectionResetError):  # nobody listens any more
        await response.prepare(request)
        try:
            await send_all()
        except ConnectionResetError:
            raise
        except Exception as error:
            await send(_as_error(error)[1])
        await response.write_eof()
    return response


def _as_error(error: Exception) -> tuple[int, dict[str, Any]]:
    """HTTP status and error object."""
    if isinstance(error, RequestError):
        return error.status, answers.error(str(error), _kind(error.status), error.param, error.code)
    if isinstance(error, ConnectionAbortedError):
        return 503, answers.error(str(error), _kind(503))
    if isinstance(error, ValueError):
        return 400, answers.error(str(error), _kind(400))
    traceback.print_exception(error, file=sys.stderr)
    return 500, answers.error("something went wrong here; the server's log says what", "server_error")


def _kind(status: int) -> str:
    return KINDS.get(status, "invalid_request_error")


def serve(loaded: LoadedModel, host: str, port: int, token: str | None, max_batch: int) -> None:
    """Answers requests until SIGINT or SIGTERM comes; then ends those that are open with an error.

    Args:
      loaded: the checkpoint.
      host, port: where to listen; port 0 is any that is free.
      token: of access; None: everyone has it.
      max_batch: rows that are decoded at a time.

    Raises:
      OSError: the port is taken, or the host none of this machine's.
    """
    asyncio.run(_serve(loaded, host, port, token, max_batch))


async def _serve(loaded: LoadedModel, host: str, port: int, token: str | None, max_batch: int) -> None:
    engine, stop = Engine(loaded, max_batch), asyncio.Event()
    server = Server(loaded, engine, token)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(server.app(), handler_cancellation=True, access_log=None, shutdown_timeout=5.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound, shown = runner.addresses[0][1], f"[{host}]" if ":" in host else host
        print(f"{server.name}: http://{shown}:{bound}/v1", flush=True)
        await stop.wait()
        await site.stop()
    finally:
        await asyncio.to_thread(engine.close)
        await runner.cleanup()
