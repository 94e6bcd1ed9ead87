"""From the texts of several systems to a study and its key."""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, cycle
from pathlib import Path

from roadmap_shared.errors import UserError
from roadmap_shared.files import atomic_write
from text_generation.evaluation.rating.study import Item, Key, Study, Style, key_path
from text_generation.json_lines import Reject, json_lines, read_text


@dataclass(frozen=True)
class Output:
    """What a system wrote for a prompt."""

    prompt: str
    system: str
    text: str


@dataclass(frozen=True)
class Draft:
    """A study, its key, and how many pairs were left out because both systems wrote the same."""

    study: Study
    key: Key
    n_identical: int


def make_study(
    name: str,
    outputs: Sequence[Output],
    *,
    question: str = "Which text is better?",
    style: Style = "prose",
    max_items: int | None = None,
    seed: int = 0,
) -> Draft:
    """Every prompt with every pair of systems that wrote for it, in random order.

    Within each pair of systems each is the first one in half of the items (one more or less where their number is
    odd). Two equal texts are no item: there is nothing to choose.

    Args:
        name: of the study.
        outputs: at most one of a system for a prompt.
        question: what raters are asked.
        style: how the texts are shown.
        max_items: take at most so many, as many of each pair of systems as possible. None: all.
        seed: of sides, order and choice.

    Raises:
        UserError: a system has two texts for a prompt, or there is no prompt with different texts of two systems.
    """
    generator = random.Random(seed)
    pairs, n_identical = _pairs(outputs)
    systems = tuple(sorted({output.system for output in outputs}))
    if not pairs:
        raise UserError(
            f"nothing to compare: no prompt has different texts of two systems (found: {', '.join(systems) or 'none'})"
        )
    for candidates in pairs.values():
        generator.shuffle(candidates)
    chosen: list[tuple[Output, Output]] = []
    for candidates in _round_robin(list(pairs.values()), max_items):
        flip = generator.getrandbits(1)
        chosen += [(b, a) if (place + flip) % 2 else (a, b) for place, (a, b) in enumerate(candidates)]
    generator.shuffle(chosen)
    digits = len(str(len(chosen)))
    items = tuple(
        Item(f"{number:0{digits}}", first.prompt, first.text, second.text)
        for number, (first, second) in enumerate(chosen, start=1)
    )
    study = Study(name, question, style, items)
    authors = {item.item: (first.system, second.system) for item, (first, second) in zip(items, chosen, strict=True)}
    return Draft(study, Key(study.fingerprint, systems, authors), n_identical)


def _pairs(outputs: Sequence[Output]) -> tuple[dict[tuple[str, str], list[tuple[Output, Output]]], int]:
    """By pair of systems, their texts for each prompt; and how many pairs of equal texts there were."""
    by_prompt: dict[str, dict[str, Output]] = {}
    for output in outputs:
        texts = by_prompt.setdefault(output.prompt, {})
        if output.system in texts:
            raise UserError(f"system '{output.system}' has two texts for the prompt '{output.prompt[:60]}': keep one")
        texts[output.system] = output
    pairs: dict[tuple[str, str], list[tuple[Output, Output]]] = {}
    n_identical = 0
    for texts in by_prompt.values():
        for a, b in combinations(sorted(texts), 2):
            if texts[a].text == texts[b].text:
                n_identical += 1
            else:
                pairs.setdefault((a, b), []).append((texts[a], texts[b]))
    return pairs, n_identical


def _round_robin(groups: list[list[tuple[Output, Output]]], limit: int | None) -> list[list[tuple[Output, Output]]]:
    """The first of each group, then the second of each, until the limit is reached."""
    if limit is None or limit >= sum(map(len, groups)):
        return groups
    taken = [0] * len(groups)
    for place in cycle(range(len(groups))):
        if sum(taken) == limit:
            break
        taken[place] += taken[place] < len(groups[place])
    return [group[:count] for group, count in zip(groups, taken, strict=True)]


def write_study(draft: Draft, path: Path) -> None:
    """Write the study, and its key beside it.

    Raises:
        UserError: one of the files exists, for votes may refer to it, or cannot be written.
    """
    for existing in (path, key_path(path)):
        if existing.exists():
            raise UserError(f"{existing}: exists. To rate that study, leave --outputs out; to make one, name another")
    study, key = draft.study, draft.key
    header = {"study": study.name, "question": study.question, "style": study.style}
    lines = [json.dumps(line, ensure_ascii=True) for line in (header, *map(asdict, study.items))]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(key_path(path), json.dumps(asdict(key), ensure_ascii=True, indent=1) + "\n")
        atomic_write(path, "\n".join(lines) + "\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error


def read_outputs(path: Path) -> tuple[list[Output], list[Reject]]:
    """The texts of a file {"prompt": ..., "system": ..., "text": ...}, one a line, and the lines that are none.

    Raises:
        UserError: the file cannot be read, or none of its lines can be used.
    """
    outputs: list[Output] = []
    rejects: list[Reject] = []
    seen: dict[tuple[str, str], int] = {}
    for number, value in json_lines(read_text(path)):
        if isinstance(value, str):
            rejects.append(Reject(path, number, value))
            continue
        fields = {name: value.get(name) for name in ("prompt", "system", "text")}
        wrong = [name for name, field in fields.items() if not isinstance(field, str)]
        output = Output(**{name: str(field) for name, field in fields.items()})
        place = (output.prompt, output.system)
        if wrong:
            rejects.append(Reject(path, number, f"{' and '.join(wrong)} must be there, and a text"))
        elif not output.system.strip():
            rejects.append(Reject(path, number, "system is empty"))
        elif place in seen:
            rejects.append(Reject(path, number, f"the same prompt and system as in line {seen[place]}"))
        else:
            seen[place] = number
            outputs.append(output)
    if not outputs:
        first = f" ({rejects[0]})" if rejects else ""
        raise UserError(f"{path}: has no line with prompt, system and text{first}")
    return outputs, rejects
