"""From the bytes of a request to the value of its answer; knows nothing of HTTP but its status codes."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from seq2seq.app.hypothesis import as_json
from seq2seq.app.serving import answers
from seq2seq.app.serving.batching import Batcher, Job
from seq2seq.app.serving.operations import Operation
from seq2seq.app.serving.programs import Programs
from seq2seq.app.serving.refusals import RefusedError, busy
from seq2seq.app.serving.work import Served
from seq2seq.errors import ConfigError, DataError, SearchError, Seq2SeqError, did_you_mean

_DAY = 86_400  # s


@dataclass(frozen=True)
class Limits:
    """What one request may cost."""

    batch: int = 64
    """Inputs in one compiled call."""
    wait_ms: float = 5.0
    """How long a request waits for others to share its call, in ms."""
    queue: int = 256
    """Inputs that may wait or be computed; beyond, requests are told to come again (429)."""
    max_body: int = 1_000_000
    """The largest request, in bytes."""
    timeout: float = 60.0
    """The longest time until an answer, in s."""
    max_tokens: int = 200_000
    """Target tokens that a request may take: hypotheses times the longest output, of all its inputs together. Others
    wait while it is computed."""
    programs: int = 100
    """Compiled programs that are kept in memory, of some MiB each; beyond, all are dropped. New options and new
    lengths have programs of their own."""

    def check(self) -> None:
        """Refuse limits under which nothing can be answered.

        Raises:
            ConfigError: one of them.

        Example:
            >>> Limits(queue=0).check()
            Traceback (most recent call last):
            seq2seq.errors.ConfigError: --queue is 0; wanted 1 or more.
        """
        least_of = {"batch": 1, "wait_ms": 0, "queue": 1, "max_body": 1, "max_tokens": 1, "programs": 1}
        for name, least in least_of.items():
            if not least <= getattr(self, name) < math.inf:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}; wanted {least} or more.")
        if not 0 < self.timeout <= _DAY:
            raise ConfigError(f"--timeout is {self.timeout}; wanted seconds above 0, and at most {_DAY:,}.")
        if self.wait_ms >= 1000 * self.timeout:
            raise ConfigError(f"--wait-ms is {self.wait_ms:g}; wanted less than --timeout, of {self.timeout:g} s.")


class Service:
    """Models by name behind one queue.

    Args:
        models: the first is the default one.
        limits: what a request may cost.

    Raises:
        ConfigError: no model, or two of one name.
    """

    def __init__(self, models: Sequence[Served], limits: Limits | None = None):
        self.models: dict[str, Served] = {}
        for model in models:
            if model.name in self.models:
                raise ConfigError(f"two models are called {model.name}; rename the file or the folder of one.")
            self.models[model.name] = model
        if not models:
            raise ConfigError("there is no model to serve; name one.")
        self.limits = limits or Limits()
        self.limits.check()
        self.closing = False
        self._streams = 0
        self._programs = Programs(self.limits.programs)
        self.batcher = Batcher(self.limits.batch, self.limits.wait_ms / 1000, self.limits.queue)

    def model(self, name: str | None) -> Served:
        """The model of a name, or the default one.

        Raises:
            RefusedError: 404, there is none of that name.
        """
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise RefusedError(
                404, f"no model is called {name[:60]!r}; {did_you_mean(name[:60], self.models)}", "/model"
            )
        return self.models[name]

    def read(self, operation: Operation, body: bytes) -> Any:
        """The request in a body.

        Raises:
            RefusedError: 400, no JSON; 422, something else than the operation wants.
        """
        asked = operation.body.read(parse(body), "")
        operation.check(asked)
        return asked

    async def answer(self, operation: Operation, asked: Any) -> bytes:
        """The answer, as JSON.

        Raises:
            RefusedError: it would cost too much, or as the queue, or the model, refuses.
        """
        model = self._open(asked)
        group = (operation.path, model.name, operation.group(asked))
        work = operation.work(model)

        def answers_of(several: Sequence[Any]) -> Sequence[bytes]:
            self._programs.make_room()
            return [_named(model, found) for found in work(several)]

        with _refusing(operation):
            self.batcher.check(operation.size(asked))
            # In a thread of its own: texts are cut into tokens, and meanwhile others are heard and answered.
            cost = await asyncio.to_thread(operation.cost, model.text, asked)
            cost.check(self.limits.max_tokens)
            job = Job(group, answers_of, asked, operation.size(asked))
            return await asyncio.wrap_future(self.batcher.put(job))

    async def stream(self, operation: Operation, asked: Any) -> AsyncGenerator[bytes]:
        """The parts of an answer, as JSON, each computed when the one before was taken; others come between.

        Raises:
            RefusedError: too many are open, or as the queue, or the model, refuses.
        """
        model = self._open(asked)
        if self._streams >= self.limits.queue:
            raise busy(f"{self._streams} outputs are being streamed and {self.limits.queue} may")
        parts = operation.work(model)(asked)

        def go_on(_: Sequence[Any]) -> Sequence[bytes | None]:
            self._programs.make_room()
            found = next(parts, None)
            return [None if found is None else _named(model, found)]

        self._streams += 1
        try:
            with _refusing(operation):
                found = await asyncio.wrap_future(self.batcher.put(Job(object(), go_on, asked)))
                while found is not None:
                    yield found
                    found = await asyncio.wrap_future(self.batcher.put(Job(object(), go_on, asked, goes_on=True)))
        finally:
            self._streams -= 1

    def _open(self, asked: Any) -> Served:
        """The model that is asked, unless the server is about to end."""
        if self.closing:
            raise RefusedError(503, "the server is shutting down.")
        return self.model(asked.model)

    def health(self) -> answers.Health:
        """Whether all is well."""
        return answers.Health("closing" if self.closing else "ok", self.batcher.waiting, self.batcher.queue)

    def cards(self) -> answers.Models:
        """What is served."""
        return answers.Models([model.card() for model in self.models.values()])


@contextmanager
def _refusing(operation: Operation) -> Iterator[None]:
    try:
        yield
    except Seq2SeqError as error:
        raise of_error(error, operation) from None


def _named(model: Served, found: Any) -> bytes:
    """An answer with the name of what gave it, as JSON."""
    return as_bytes({"model": model.name, **as_json(found)})


def of_error(error: Seq2SeqError, operation: Operation) -> RefusedError:
    """What the library says of a request, as a refusal."""
    where = ""
    if isinstance(error, DataError) and error.line is not None:
        where = f"{'/pairs' if 'pairs' in operation.body.shapes else '/inputs'}/{error.line - 1}"
        if "input" in operation.body.shapes:
            where = "/input"
    if isinstance(error, SearchError) and error.line is not None:
        where = f"/prefixes/{error.line - 1}" if "prefixes" in operation.body.shapes else "/prefix"
    return RefusedError(422, str(error), where)


def parse(body: bytes) -> Any:
    """The JSON value in a body; no NaN, no infinity.

    Raises:
        RefusedError: 400, it is none.
    """

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    try:
        return json.loads(body.decode("utf-8"), parse_constant=refuse)
    except UnicodeDecodeError as error:
        raise RefusedError(400, f"the body is not UTF-8 at byte {error.start}; send JSON in UTF-8.") from None
    except RecursionError:
        raise RefusedError(400, "the body is nested too deep; wanted a JSON object.") from None
    except ValueError as error:
        raise RefusedError(400, f"the body is not JSON: {str(error)[:200]}.") from None


def as_bytes(value: Any) -> bytes:
    """JSON values as what is sent.

    Example:
        >>> as_bytes({"text": "a"})
        b'{"text": "a"}'
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
