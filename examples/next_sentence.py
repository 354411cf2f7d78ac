"""The 2015 program, today: a generic encoder-decoder that learns to say the next sentence.

    python examples/next_sentence.py [TEXT.txt]

Every line of the text is a source whose target is the next line. Without a text it learns a nursery rhyme by heart.
All of it is plain JAX: `scan` is a drop-in for `jax.lax.scan`, `jax.grad` gives a gradient that is itself a model.
"""

import sys
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp

import seq2seq as s2s
from seq2seq import FF, GRU, Embedding, module, scan

RHYME = """humpty dumpty sat on a wall
humpty dumpty had a great fall
all the king's horses and all the king's men
couldn't put humpty together again"""


@module  # a frozen dataclass that is a JAX pytree
class NextSentence(s2s.Model):
    embed: Embedding
    encoder: GRU
    decoder: GRU
    ffout: FF

    @classmethod
    def init(cls, key, vocabulary: int, hidden: int = 64):
        k = jax.random.split(key, 4)
        return cls(
            embed=Embedding.init(k[0], vocabulary, hidden),
            encoder=GRU.init(k[1], hidden, hidden),
            decoder=GRU.init(k[2], hidden, hidden),
            ffout=FF.init(k[3], hidden, vocabulary),
        )

    def loss(self, batch, key=None):  # time-major: (time, batch)
        _, state = self.start(batch.source, batch.source_lengths)
        _, states = scan(self.decoder.step, state, self.embed(batch.target_in))
        return s2s.cross_entropy(self.ffout, states, batch.target_out, batch.target_mask)  # never holds all logits

    def start(self, source, lengths):  # with `step`, this is all that search, scoring and serving need
        state, _ = s2s.unroll(self.encoder, self.embed(source), lengths)  # padding leaves the state as it is
        return (), state

    def step(self, memory, state, token):
        state, output = self.decoder.step(state, self.embed(token))
        return state, s2s.Prediction(self.ffout(output))


@jax.jit  # plain JAX all the way; any optax optimiser will do
def update(model, batch, key, lr):
    grads = jax.grad(lambda m: m.loss(batch, key).mean)(model)
    return jax.tree.map(lambda p, g: p - lr * g, model, grads)


def main(text: str = RHYME, updates: int = 300) -> list[str]:
    lines = text.splitlines()
    pairs = list(pairwise(lines))
    words = s2s.Tokenizer.train("word", lines)
    batches = s2s.Batches(s2s.Dataset.build(pairs, words, words), tokens=2000, seed=1, max_shapes=2)
    model = NextSentence.init(jax.random.key(1), words.size)
    for epoch in range(-(-updates // batches.count)):
        for batch in batches.epoch(epoch):
            model = update(model, batch, jax.random.key(epoch), 1.0)

    model.save("next_sentence.npz")
    model = NextSentence.load("next_sentence.npz")
    replies = []
    for line in lines[:3]:
        ids = jnp.array([*words.encode(line), s2s.END])
        found = s2s.beam(model, ids[:, None], jnp.array([len(ids)]), jnp.array([20]))
        replies.append(words.decode(found.tokens[0, 0].tolist()))
        print(f"> {line}\n  {replies[-1]}")
    return replies


if __name__ == "__main__":
    main(Path(sys.argv[1]).read_text("utf-8") if len(sys.argv) > 1 else RHYME)
