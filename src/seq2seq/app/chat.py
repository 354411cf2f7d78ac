"""A talk with a model: a line is answered, a line that begins with / is a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from seq2seq.app.decoding import Decoding
from seq2seq.app.hypothesis import Hypothesis, on_one_line
from seq2seq.app.pictures.terminal import Screen, heat_map
from seq2seq.app.rerank import Reranker, asked_for
from seq2seq.app.text_model import TextModel
from seq2seq.app.train import say
from seq2seq.app.unknown import unlike_training
from seq2seq.errors import AttentionSizeError, ConfigError, ModuleError, SearchError, did_you_mean

HELP = """\
Whatever you type is answered. A line that begins with / is one of these:
  /nbest 5         so many answers to each line
  /beam 8          hypotheses kept at each step
  /attention       where the model looked for its last answer
  /score TARGET    log p(TARGET | your last line)
  /help            this
  /quit            leave, as the end of the input (Ctrl-D) and Ctrl-C do
A text that begins with / itself is typed with two: //like this."""
COMMANDS = ("nbest", "beam", "attention", "score", "help", "quit")


@dataclass
class Chat:
    """A talk; `reply` answers a line.

    Attributes:
        model: who talks.
        decoding: how it generates; /nbest and /beam change it.
        reranker: what chooses among the hypotheses of the search, if not the search.
        screen: where the attention is drawn.
        over: whether /quit was said.

    Example:
        ```
        chat = Chat(seq2seq.load("run"), seq2seq.Decoding())
        chat.reply("so abram departed")
        chat.reply("/nbest 3")
        ```
    """

    model: TextModel
    decoding: Decoding
    reranker: Reranker | None = None
    screen: Screen = field(default_factory=Screen)
    over: bool = False
    _lines: int = 0
    _said: str | None = None
    _answers: list[Hypothesis] = field(default_factory=list)

    def reply(self, line: str) -> str:
        """The answer to a line, or what a command says.

        Raises:
            ConfigError: no command is called so, or its argument is none.
            DataError, ModuleError, SearchError: the line cannot be answered; the talk goes on as it was.
        """
        if line.startswith("//"):
            return self._answer(line[1:])
        if not line.startswith("/"):
            return self._answer(line)
        name, _, argument = line[1:].strip().partition(" ")
        known: dict[str, Callable[[str], str]] = {
            "nbest": lambda text: self._set("nbest", text),
            "beam": lambda text: self._set("beam", text),
            "attention": lambda _: self._attention(),
            "score": self._score,
            "help": lambda _: HELP,
            "quit": lambda _: self._quit(),
        }
        if name not in known:
            raise ConfigError(f"no command is called /{name}; {did_you_mean(name, COMMANDS)}")
        return known[name](argument.strip())

    def _answer(self, text: str) -> str:
        read, settings = self.model.sources([text], self._lines), self.model.settings
        for _, what in unlike_training(self.model.source_tokenizer, read, settings.source_longest).values():
            say(f"note: this has {what}.")
        search = self.model.hypotheses if self.reranker is None else partial(self.reranker.hypotheses, self.model)
        search = partial(search, [text], self.decoding, first_line=self._lines)
        try:
            found = search(attention=True)[0]
        except AttentionSizeError:
            found = search()[0]
        self._said, self._answers = text, found
        self._lines += 1
        if not found[0].finished:
            say("note: the answer was cut off at the length limit; --max-length sets it.")
        if self.decoding.nbest == 1:
            return on_one_line(found[0].text)
        return "\n".join(f"{n:>3}  {h.score:>9.4f}  {on_one_line(h.text)}" for n, h in enumerate(found, 1))

    def _set(self, name: str, text: str) -> str:
        if not text:
            return f"/{name} is {getattr(self.decoding, name)}"
        try:
            value = int(text)
        except ValueError:
            raise ConfigError(f"/{name} {text}: wanted a whole number, such as /{name} 5.") from None
        if name == "beam" and self.decoding.sample:
            raise ConfigError("/beam is for a search; with --sample outputs are drawn, so many as /nbest says.")
        if value < 1:
            raise SearchError(f"/{name} {value}: wanted 1 or more.")
        changed = replace(self.decoding, **{name: value})
        reranker = self.reranker
        if reranker and reranker.candidates == asked_for(self.decoding):  # and not a number of its own
            reranker = reranker.among_those_of(changed)
        (changed if reranker is None else reranker.widened(changed)).check()
        self.decoding, self.reranker = changed, reranker
        return f"/{name} is {value}"

    def _attention(self) -> str:
        if not self._answers:
            raise ConfigError("/attention draws the last answer; there is none yet, so type a line first.")
        best = self._answers[0]
        if best.attention is None or best.source_tokens is None:
            empty = not (self._said or "").strip()
            why = "had an empty line, which has no attention" if empty else "gives no attention of this line"
            raise ModuleError(f"/attention: this {type(self.model.model).__name__} {why}.")
        return heat_map(best.attention, best.source_tokens, best.tokens, self.screen)

    def _score(self, target: str) -> str:
        if self._said is None:
            raise ConfigError("/score is about your last line; there is none yet, so type one first.")
        ((tokens, scores),) = self.model.token_scores([(self._said, target)], self.decoding)
        each = "  ".join(f"{token} {score:.3f}" for token, score in zip(tokens, scores, strict=True))
        return f"{sum(scores):.6g} nats, {-sum(scores) / len(scores):.3f} nats/token:  {on_one_line(each)}"

    def _quit(self) -> str:
        self.over = True
        return ""
