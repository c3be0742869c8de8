"""Text from a GPT: greedy, sampled or by beam search; see lesson 08.

    ids = generate(model, tokenizer.encode("Once"), 50, temperature=0.8, seed=0)[0]
    tokenizer.decode(ids)

Keys and values of what was read are kept (gpt.Cache), so that a token costs about the
same wherever it stands.
"""

import operator
from functools import partial

import torch

from lmlab.arguments import number, whole
from lmlab.generation import sampling
from lmlab.generation.search import search
from lmlab.models.gpt import Cache
from lmlab.models.wrappers import gpt_inside, modes_kept


def generate(
    model,
    prompt_ids,
    num_tokens,
    *,
    num_sequences=1,
    temperature=0.0,
    top_k=None,
    top_p=None,
    repetition_penalty=1.0,
    num_beams=1,
    length_penalty=1.0,
    stop=(),
    seed=None,
    use_cache=True,
    crop=False,
    vocab_size=None,
):
    """Continue a prompt, or each of several; returns lists of new ids alone.

    prompt_ids: ids of one prompt, or a list of such (they may differ in length). Each
    gives num_sequences lists, one after the other, of num_tokens ids, or fewer: a list
    ends with the first id of `stop` that it meets.
    temperature: 0 takes the likeliest id; above 0 one is drawn, among the top_k and
    top_p likeliest if given (see `generation.sampling`). repetition_penalty: above 1
    makes ids that came before less likely. num_beams: above 1 searches for the whole
    continuation with the highest log-probability / length ** length_penalty, the best
    first, as Hugging Face does (see `generation.search`); length counts the new ids
    alone, the stop included. seed: the same seed draws the same; None draws anew. The
    global random generators are never used, and each part of the model stays in the
    mode that it is in.
    use_cache=False reads everything again for each id: slower, and the same. crop: of
    a prompt that is too long keep the end; without it, that is an error.
    vocab_size: of the tokenizer, if the model has more rows than it has ids: those to
    spare are never chosen (`pretrained.load` leaves them out by itself).
    Raises ValueError or TypeError, naming the argument.
    """
    prompts = _prompts(prompt_ids)
    num_tokens = whole("num_tokens", num_tokens)
    num_sequences = whole("num_sequences", num_sequences)
    num_beams = whole("num_beams", num_beams)
    length_penalty = number("length_penalty", length_penalty)
    penalty = number("repetition_penalty", repetition_penalty, "(0, inf)")
    temperature = number("temperature", temperature, "[0, inf)")
    top_k = None if top_k is None else whole("top_k", top_k)
    top_p = None if top_p is None else number("top_p", top_p, "(0, 1]")
    drawn_from = (top_k, top_p) != (None, None)
    _check_together(temperature, drawn_from, num_beams, num_sequences)
    model = gpt_inside(model)
    rows = model.config.vocab_size
    V = rows if vocab_size is None else whole("vocab_size", vocab_size, high=rows)
    stop = stop.tolist() if hasattr(stop, "tolist") else stop
    stop = stop if hasattr(stop, "__iter__") else [stop]
    stop = {whole("stop", i, 0, V - 1) for i in stop}
    prompts = _fitting(prompts, num_tokens, model.config, V, crop)
    with modes_kept(model), torch.inference_mode():
        model.eval()
        text = RunningText(
            model, prompts, num_tokens, V, use_cache, remember=penalty != 1
        )
        if num_beams == 1:
            choose = partial(
                _choose, text=text, penalty=penalty, temperature=temperature,
                top_k=top_k, top_p=top_p, generator=_generator(text.device, seed),
            )  # fmt: skip
            return _write(text, choose, num_tokens, num_sequences, stop)
        found = search(
            text, num_tokens, num_beams, stop,
            length_penalty=length_penalty, repetition_penalty=penalty,
        )  # fmt: skip
        return [ids for row in found for _, ids in row[:num_sequences]]


def _check_together(temperature, drawn_from, num_beams, num_sequences):
    if temperature == 0 and drawn_from:
        raise ValueError(
            "top_k and top_p choose what is drawn from, and temperature=0 draws "
            "nothing: set temperature above 0"
        )
    if num_beams == 1:
        if temperature == 0 and num_sequences > 1:
            raise ValueError(
                f"num_sequences={num_sequences} would all be the same with "
                "temperature=0: set temperature above 0, or num_beams"
            )
    elif temperature > 0:
        raise ValueError("beams search and do not draw: leave temperature at 0")
    elif num_sequences > num_beams:
        raise ValueError(
            f"{num_beams} beams cannot give {num_sequences} sequences: num_sequences "
            "must be at most num_beams"
        )


# --- One id after the other -----------------------------------------------------------


def _write(text, choose, num_tokens, num_sequences, stop):
    """The ids that `choose` takes of the logits (R, V), a list for each sequence."""
    logits = text.begin()
    if num_sequences > 1:  # each prompt was read once
        rows = torch.arange(len(logits), device=text.device)
        rows = rows.repeat_interleave(num_sequences)
        text.pick(rows)
        logits = logits[rows]
    chosen, running = [], [True] * len(logits)
    for _ in range(num_tokens):
        if chosen:
            logits = text.add(chosen[-1])
        chosen.append(choose(logits.float()))
        if stop:
            last = chosen[-1].tolist()
            running = [r and i not in stop for r, i in zip(running, last)]
            if not any(running):
                break
    return [_until(ids, stop) for ids in torch.stack(chosen, 1).tolist()]


def _choose(logits, text, penalty, temperature, top_k, top_p, generator):
    """The next id of each row (R,)."""
    if penalty != 1:
        logits = sampling.penalise(logits, text.seen, penalty)
    if temperature == 0:
        return logits.argmax(-1)
    logits = sampling.filtered(logits, temperature, top_k, top_p)
    return sampling.draw(logits, generator)


def _generator(device, seed):
    generator = torch.Generator(device=device)
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


def _until(ids, stop):
    ends = (place for place, i in enumerate(ids) if i in stop)
    return ids[: next(ends, len(ids)) + 1]


class RunningText:
    """Rows of ids that grow at the right, and the model's logits for what comes next.

    Shorter prompts are padded at the left, which the model does not see. seen (R, V):
    True for the ids that a row holds; None unless asked for. V: vocab_size.
    """

    def __init__(self, model, prompts, num_tokens, vocab_size, use_cache, remember):
        self.model, self.use_cache, self.vocab_size = model, use_cache, vocab_size
        self.device = model.token_embedding.weight.device
        longest = max(map(len, prompts))
        padded = [[0] * (longest - len(p)) + p for p in prompts]
        self.ids = torch.tensor(padded, device=self.device)  # (R, T)
        padding = [longest - len(prompt) for prompt in prompts]
        self.padding = (
            torch.tensor(padding, device=self.device) if any(padding) else None
        )
        # The last id is not read.
        self.cache = self._cache(longest + num_tokens - 1) if use_cache else None
        self.seen = None
        if remember:
            shape = len(prompts), vocab_size
            self.seen = torch.zeros(shape, dtype=torch.bool, device=self.device)
            for row, prompt in enumerate(prompts):
                self.seen[row, prompt] = True

    def begin(self):
        """Read the prompts; logits (R, V)."""
        return self._read(self.ids, self.cache)

    def add(self, tokens):
        """Append one id (R,) to each row; logits (R, V)."""
        if self.seen is not None:
            self.seen.scatter_(1, tokens[:, None], True)
        if self.use_cache:
            return self._read(tokens[:, None], self.cache)
        self.ids = torch.cat([self.ids, tokens[:, None]], 1)
        return self._read(self.ids, None)

    def pick(self, rows):
        """Keep these rows, in this order; one may come several times."""
        self.ids = self.ids[rows]
        if self.seen is not None:
            self.seen = self.seen[rows]
        if self.padding is not None:
            self.padding = self.padding[rows]
        if self.use_cache:
            self.cache.pick(rows)

    def _read(self, ids, cache):
        if cache is None and self.padding is not None:
            cache = self._cache(ids.shape[1])  # it knows about padding
        hidden = self.model.hidden(ids, cache)
        return self.model.logits(hidden[:, -1])[:, : self.vocab_size]

    def _cache(self, length):
        return Cache(self.model, len(self.ids), length, padding=self.padding)


# --- Prompts --------------------------------------------------------------------------


def _prompts(prompt_ids):
    """A list of prompts, each a list of int that is not empty."""
    ids = prompt_ids.tolist() if hasattr(prompt_ids, "tolist") else list(prompt_ids)
    if not ids:
        raise ValueError(
            "prompt_ids is empty: begin with one id at least, such as tokenizer.end"
        )
    one = hasattr(ids[0], "__index__") and not getattr(ids[0], "ndim", 0)
    try:
        prompts = [[operator.index(i) for i in p] for p in ([ids] if one else ids)]
    except TypeError:
        raise TypeError(
            "prompt_ids must be ids (whole numbers) or a list of such; text is encoded "
            "by tokenizer.encode"
        ) from None
    if not all(prompts):
        raise ValueError("prompt_ids holds an empty prompt: begin with tokenizer.end")
    return prompts


def _fitting(prompts, num_tokens, config, vocab_size, crop):
    """The prompts, cut at the left where the caller allows it; ids looked at."""
    room = config.context - num_tokens + 1
    if room < 1:
        raise ValueError(
            f"num_tokens={num_tokens} is more than the model's context of "
            f"{config.context} has room for"
        )
    longest = max(map(len, prompts))
    if longest > room and not crop:
        raise ValueError(
            f"the prompt has {longest} tokens, and with num_tokens={num_tokens} the "
            f"context of {config.context} has room for {room}: shorten it, or pass "
            "crop=True to keep its end"
        )
    prompts = [prompt[-room:] for prompt in prompts]
    for i in (i for prompt in prompts for i in prompt):
        if not 0 <= i < vocab_size:
            raise ValueError(f"prompt_ids must lie in 0 … {vocab_size - 1}, got {i}")
    return prompts
