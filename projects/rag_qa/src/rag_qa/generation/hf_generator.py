"""Answers by a causal language model in this process, through transformers."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer

from rag_qa.config.generation import GenerationConfig
from rag_qa.generation.prompted import Message, PromptedGenerator
from rag_qa.generation.refusal import Calibrator
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.protocols import Encoder
from roadmap_shared.errors import UserError, one_line

_NO_LIMIT = 10**9
"""Above it, a tokenizer's `model_max_length` means that it knows none."""

_DEFAULT_WINDOW = 2048


class HFGenerator(PromptedGenerator):
    """`PromptedGenerator` over `model.generate`; with the model's chat template where it has one.

    Only safetensors are read, never a pickle, and no code that comes with a model is run.
    """

    def __init__(
        self,
        config: GenerationConfig,
        encoder: Encoder,
        statistics: TermStatistics | None = None,
        calibrator: Calibrator | None = None,
    ) -> None:
        """Args are those of `PromptedGenerator`.

        Raises:
            UserError: the model cannot be read, or there is no GPU where one is asked for.
        """
        super().__init__(config, encoder, statistics, calibrator)
        self.name = f"hf:{config.model}"
        if config.device == "cuda" and not torch.cuda.is_available():
            raise UserError("--generation.device cuda: there is no GPU. Use auto or cpu.")
        self._device = "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if self._device == "cuda" else torch.float32
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(config.model)
            model: Any = AutoModelForCausalLM.from_pretrained(config.model, dtype=dtype, use_safetensors=True)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"--generation.model {config.model} cannot be read as a causal language model: {one_line(error)[:300]}"
            ) from error
        self._model: Any = model.to(self._device).eval()
        self._lock = threading.Lock()

    @property
    def context_window(self) -> int:
        known = [
            getattr(self._model.config, "max_position_embeddings", None),
            self._tokenizer.model_max_length if self._tokenizer.model_max_length < _NO_LIMIT else None,
        ]
        return min((int(limit) for limit in known if limit), default=_DEFAULT_WINDOW)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Exact."""
        return len(self._ids(messages))

    def complete(self, messages: Sequence[Message]) -> Iterator[str]:
        """The answer in pieces. One answer at a time: a second one waits."""
        ids = torch.tensor([self._ids(messages)], device=self._device)
        streamer = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        sampling = self.config.temperature > 0
        options: dict[str, Any] = {"do_sample": sampling, "max_new_tokens": self.config.max_new_tokens}
        if sampling:
            options["temperature"] = self.config.temperature
        pad = self._tokenizer.pad_token_id
        options["pad_token_id"] = self._tokenizer.eos_token_id if pad is None else pad
        failure: list[BaseException] = []
        stop = threading.Event()

        def generate() -> None:
            try:
                with torch.inference_mode():
                    self._model.generate(
                        input_ids=ids,
                        attention_mask=torch.ones_like(ids),
                        streamer=streamer,
                        stopping_criteria=[lambda ids, scores, **_: torch.full((len(ids),), stop.is_set())],
                        **options,
                    )
            except Exception as error:  # it belongs to whoever reads the answer, not to this thread
                failure.append(error)
                streamer.end()

        with self._lock:
            thread = threading.Thread(target=generate, daemon=True)
            thread.start()
            try:
                yield from streamer
            finally:
                stop.set()
                thread.join()
        if failure:
            raise failure[0]

    def _ids(self, messages: Sequence[Message]) -> list[int]:
        if self._tokenizer.chat_template is None:
            text = "\n\n".join(message["content"] for message in messages) + "\nAnswer:"
            return list(self._tokenizer(text)["input_ids"])
        text = self._tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
        # The template has written the special tokens already.
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
