"""A local model of Hugging Face's transformers: a folder or a hub id, on a CPU or a GPU."""

from collections.abc import Iterator, Sequence
from functools import cached_property

from jinja2 import TemplateError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from roadmap_shared.errors import UserError, one_line
from text_generation.backends.answers import Answer
from text_generation.backends.batches import length_buckets
from text_generation.backends.beam_search import beam_search
from text_generation.backends.decoding_loop import DecodingLoop, LogitsHook
from text_generation.backends.hf_loading import context_window_of, end_tokens_of, load_causal_lm
from text_generation.backends.prompts import answer_limits, check_prompts, plain_conversation
from text_generation.backends.scoring import token_logprobs
from text_generation.backends.types import Generation, Likelihood, Message, Prompt
from text_generation.config.decoding import DecodingConfig
from text_generation.prompting.constrained_decoding import ConstraintEngine, ConstraintHook
from text_generation.prompting.structured import constraint_of

PLAIN_STOP = "\n\nUser:"
"""Ends the answer in a conversation that is written as plain text: the model would go on with the user's next turn."""


class HuggingFaceBackend:
    """Implements `Backend` with a model in this process.

    A prompt that is a text is gone on with as it stands. A conversation is written by the tokenizer's chat template;
    where it has none, by `prompts.plain_conversation`, and the answer then ends before the user's next turn.

    Greedy search and sampling run in `DecodingLoop`, prompts of like length together; what shares a batch changes an
    answer by nothing but rounding, sampled ones included. Beam search is transformers' own: an answer comes whole, is
    cut at a stop sequence afterwards, and is searched beside prompts of equal length only.
    """

    counts_exactly = True

    def __init__(
        self,
        network: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str = "model",
        batch_size: int = 16,
    ) -> None:
        """Args:
        network: a causal language model; it is put into evaluation mode.
        tokenizer: the one that it was trained with.
        name: what reports and messages call it.
        batch_size: prompts a forward pass.
        """
        self.network = network.eval()
        self.tokenizer = tokenizer
        self.name = name
        self.batch_size = batch_size
        self.context_window = context_window_of(network, tokenizer)
        self.end_tokens = end_tokens_of(network, tokenizer)
        pad = tokenizer.pad_token_id
        self._pad_id = pad if isinstance(pad, int) else 0  # the mask hides it: any token will do

    @classmethod
    def load(
        cls,
        source: str,
        *,
        device: str = "auto",
        batch_size: int = 16,
        flag: str = "--backend.model",
        device_flag: str = "--backend.device",
    ) -> "HuggingFaceBackend":
        """Read a folder or a hub id. The flags and the errors are those of `hf_loading.load_causal_lm`."""
        network, tokenizer = load_causal_lm(source, device, flag=flag, device_flag=device_flag)
        return cls(network, tokenizer, name=source, batch_size=batch_size)

    @cached_property
    def constraint_engine(self) -> ConstraintEngine:
        """The tokenizer, prepared for constrained decoding: made once, for it takes a while.

        Raises:
            UserError: as for `ConstraintEngine`.
        """
        return ConstraintEngine(self.tokenizer, sorted(self.end_tokens))

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt, as the model sees it.

        Raises:
            UserError: the chat template does not take the conversation.
        """
        if isinstance(prompt, str):
            return list(self.tokenizer(prompt, verbose=False)["input_ids"])
        if not self.tokenizer.chat_template:
            return list(self.tokenizer(plain_conversation(prompt), verbose=False)["input_ids"])
        text = self._templated(prompt)
        # The template writes the marks of a text's beginning itself.
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def count_tokens(self, prompt: Prompt) -> int:
        """Tokens of the prompt, the marks of the turns included."""
        return len(self.encode(prompt))

    def generate(
        self,
        prompts: Sequence[Prompt],
        decoding: DecodingConfig,
        seed: int = 0,
        hook: LogitsHook | None = None,
    ) -> list[Generation]:
        """One answer for each prompt, in their order. `hook` may forbid tokens; beam search takes none, and neither
        does a call whose settings name a JSON Schema or regular expression.

        An answer that is to fit one and reaches its limit of tokens is cut in the middle (`finish_reason` "length").

        Raises:
            UserError: a prompt is empty, or leaves too little room in the context, as `answer_limits` tells; or the
                schema or expression cannot be enforced.
            ValueError: a hook beside beam search, a schema or an expression.
        """
        answers = self._open(prompts, decoding)
        hook = self._hook(decoding, hook)
        if decoding.strategy == "beam_search":
            if hook is not None:
                raise ValueError("beam search takes no hook: use strategy greedy or sampling")
            self._search(answers, decoding)
        else:
            for batch in length_buckets([len(answer.prompt) for answer in answers], self.batch_size):
                for _ in self._loop(answers, batch, decoding, seed, hook):
                    pass
        return [answer.generation() for answer in answers]

    def stream(
        self, prompt: Prompt, decoding: DecodingConfig, seed: int = 0, hook: LogitsHook | None = None
    ) -> Iterator[str]:
        """The answer in pieces, as they come; joined they are the text that `generate` gives.

        Beam search yields its answer whole, as it may change its mind until the end. Errors as for `generate`, when the
        first piece is asked for.
        """
        if decoding.strategy == "beam_search":
            yield from filter(None, [self.generate([prompt], decoding, seed, hook)[0].text])
            return
        answers = self._open([prompt], decoding)
        for _ in self._loop(answers, [0], decoding, seed, self._hook(decoding, hook)):
            if piece := answers[0].take():
                yield piece
        if piece := answers[0].take():
            yield piece

    def trace(self, prompt: Prompt, decoding: DecodingConfig, seed: int, hook: LogitsHook) -> Answer:
        """The finished answer with its token ids, for a hook that looks on. Errors as for `generate`."""
        answers = self._open([prompt], decoding)
        for _ in self._loop(answers, [0], decoding, seed, self._hook(decoding, hook)):
            pass
        return answers[0]

    def likelihood(self, pairs: Sequence[tuple[Prompt, str]]) -> list[Likelihood]:
        """How probable each continuation is after its prompt, in batches.

        Prompt and continuation are cut into tokens together where the prompt's tokens come out the same, and apart
        otherwise, so that what is scored is what `generate` could have written.

        Raises:
            UserError: a prompt is empty, or is too long for the context together with its continuation.
        """
        check_prompts([prompt for prompt, _ in pairs])
        tokens = [self._encode_pair(prompt, continuation) for prompt, continuation in pairs]
        for number, (prompt, continuation) in enumerate(tokens, start=1):
            if len(prompt) + len(continuation) > self.context_window:
                raise UserError(
                    f"pair {number} of {len(tokens)} has {len(prompt)} + {len(continuation)} tokens, more than the "
                    f"{self.context_window} of {self.name}'s context. Shorten it."
                )
        scores = token_logprobs(self.network, tokens, pad_id=self._pad_id, batch_size=self.batch_size)
        return [
            Likelihood(nats=-sum(logprobs), n_tokens=len(logprobs), n_bytes=len(continuation.encode()))
            for (_, continuation), logprobs in zip(pairs, scores, strict=True)
        ]

    def _open(self, prompts: Sequence[Prompt], decoding: DecodingConfig) -> list[Answer]:
        """Empty answers, one for each prompt, after all checks."""
        check_prompts(prompts)
        encoded = [self.encode(prompt) for prompt in prompts]
        for number, ids in enumerate(encoded, start=1):
            if not ids:
                raise UserError(f"prompt {number} of {len(prompts)} is empty: its text has no token for {self.name}.")
        limits = answer_limits([len(ids) for ids in encoded], decoding, self.context_window, self.name)
        return [
            Answer(self.tokenizer, ids, self._stop(prompt, decoding), self.end_tokens, limit)
            for prompt, ids, limit in zip(prompts, encoded, limits, strict=True)
        ]

    def _hook(self, decoding: DecodingConfig, hook: LogitsHook | None) -> LogitsHook | None:
        constraint = constraint_of(decoding)
        if constraint is None:
            return hook
        if hook is not None:
            raise ValueError("a hook goes without a JSON Schema or regular expression: each wants to mask the logits")
        return ConstraintHook(self.constraint_engine, constraint)

    def _stop(self, prompt: Prompt, decoding: DecodingConfig) -> tuple[str, ...]:
        plain = not isinstance(prompt, str) and not self.tokenizer.chat_template
        return (*decoding.stop, PLAIN_STOP) if plain else decoding.stop

    def _loop(
        self,
        answers: Sequence[Answer],
        batch: Sequence[int],
        decoding: DecodingConfig,
        seed: int,
        hook: LogitsHook | None,
    ) -> DecodingLoop:
        chosen = [answers[index] for index in batch]
        return DecodingLoop(self.network, chosen, decoding, rows=batch, pad_id=self._pad_id, seed=seed, hook=hook)

    def _search(self, answers: Sequence[Answer], decoding: DecodingConfig) -> None:
        by_length: dict[int, list[Answer]] = {}
        for answer in answers:
            by_length.setdefault(len(answer.prompt), []).append(answer)
        batches = [
            group[start : start + self.batch_size]
            for group in by_length.values()
            for start in range(0, len(group), self.batch_size)
        ]
        for batch in batches:
            # Prompts of one length have one limit.
            n_new = batch[0].limit or decoding.most_new_tokens
            found = beam_search(self.network, [answer.prompt for answer in batch], decoding, self.end_tokens, n_new)
            pairs = [(answer.prompt, tokens) for answer, tokens in zip(batch, found, strict=True)]
            scores = token_logprobs(self.network, pairs, pad_id=self._pad_id, batch_size=self.batch_size)
            for answer, tokens, logprobs in zip(batch, found, scores, strict=True):
                for token, logprob in zip(tokens, logprobs, strict=True):
                    if answer.finish_reason is None:
                        answer.push(token, logprob)
                answer.cut()

    def _templated(self, messages: Sequence[Message]) -> str:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            raise UserError(
                f"{self.name}'s chat template does not take this conversation: {one_line(error)}"
            ) from error
        assert isinstance(text, str)
        return text

    def _encode_pair(self, prompt: Prompt, continuation: str) -> tuple[list[int], list[int]]:
        ids = self.encode(prompt)
        special = True
        if isinstance(prompt, str):
            text = prompt
        elif self.tokenizer.chat_template:
            text, special = self._templated(prompt), False
        else:
            text = plain_conversation(prompt)
        joint = list(self.tokenizer(text + continuation, add_special_tokens=special, verbose=False)["input_ids"])
        if joint[: len(ids)] == ids:
            return ids, joint[len(ids) :]
        apart = self.tokenizer(continuation, add_special_tokens=False, verbose=False)["input_ids"]
        return ids, list(apart)
