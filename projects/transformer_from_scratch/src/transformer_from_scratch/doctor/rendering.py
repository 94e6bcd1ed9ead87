"""The examination as text: how the target was understood, the table of checks, the diagnosis."""

import textwrap

from transformer_from_scratch.doctor.catalogue import BUGS
from transformer_from_scratch.doctor.checks import Examination, Status

_WIDTH = 110


def render(examination: Examination) -> str:
    """The whole report."""
    lines = [f"{examination.target} ({examination.kind})", *(f"  {fact}" for fact in examination.facts), ""]
    lines += _table(examination)
    lines += ["", *_diagnosis(examination)]
    return "\n".join(lines)


def _table(examination: Examination) -> list[str]:
    name_width = max((len(check.name) for check in examination.checks), default=0)
    indent = " " * (name_width + 8)
    lines = []
    for check in examination.checks:
        start = f"  {check.name:<{name_width}}  {check.status.value:<4}"
        wrapped = textwrap.wrap(check.measured, max(40, _WIDTH - len(indent) - 2)) or [""]
        lines += [f"{start}  {wrapped[0]}", *(f"{indent}  {line}" for line in wrapped[1:])]
    return lines


def _diagnosis(examination: Examination) -> list[str]:
    if examination.healthy:
        return ["Healthy: no check failed."]
    bugs = examination.bugs
    if not bugs:
        names = ", ".join(check.name for check in examination.checks if check.status is Status.FAIL)
        text = (
            f"Something is wrong ({names}), and no bug that the doctor knows explains it. "
            "Look first at how heads are split and merged, and at which axis the softmax runs over."
        )
        return textwrap.wrap(text, _WIDTH)
    proven = {bug for check in examination.checks if check.proven for bug in check.bugs}
    lines = ["Diagnosis"]
    for number, bug in enumerate(bugs, start=1):
        known = BUGS[bug]
        sure = "" if bug in proven or not known.is_arithmetic or len(bugs) == 1 else " (possible)"
        lines += ["", f"{number}. {known.title}{sure}"]
        lines += _paragraph("Symptom", "; ".join(examination.symptoms(bug)))
        lines += _paragraph("Why", known.why) + _paragraph("Look for", known.look_for) + _paragraph("Fix", known.fix)
    return lines


def _paragraph(head: str, text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=f"   {head:<8}  ", subsequent_indent=" " * 13)
