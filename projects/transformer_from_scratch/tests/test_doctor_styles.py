"""Right code in the styles of well-known tutorials and libraries raises no false alarm, and is really compared."""

from pathlib import Path

import pytest

from transformer_from_scratch.config import DoctorConfig
from transformer_from_scratch.doctor.checks import Check, Examination, Status
from transformer_from_scratch.doctor.examine import examine

PATIENTS = Path(__file__).parent / "doctor_patients"

# Target, and what its comparison with the reference must say: a style that is not recognised proves nothing.
STYLES = [
    ("styles.py:CausalSelfAttention", "4 heads, scale 1/sqrt(D), causal by itself"),
    ("styles.py:GPT", "4 heads, scale 1/sqrt(D), causal by itself"),
    ("styles.py:attention", "4 heads, scale 1/sqrt(D)"),
    ("styles.py:MultiHeadedAttention", "4 heads, scale 1/sqrt(D)"),
    ("styles.py:RaschkaAttention", "4 heads, scale 1/sqrt(D), causal by itself"),
    ("styles.py:RaschkaGPT", "4 heads, scale 1/sqrt(D), causal by itself"),
    ("styles.py:Persson", "4 heads, scale 1/sqrt(D)"),
    ("styles.py:Bloem", "4 heads, scale 1/sqrt(D)"),
    ("styles.py:Lucid", "4 heads, scale 1/sqrt(D)"),
    ("styles.py:NeoX", "4 heads, scale 1/sqrt(D), causal by itself, rotary on halves"),
    ("styles.py:Einsum", "4 heads, scale 1/sqrt(D)"),
    ("styles.py:SubtractingMask", "4 heads, scale 1/sqrt(D)"),
    ("styles.py:DotProductAttention", "1 head, scale 1/sqrt(D)"),
    ("styles.py:CachedAttention", "4 heads, scale 1/sqrt(D), causal by itself"),
    ("styles.py:StartPositionAttention", "4 heads, scale 1/sqrt(D), rotary on neighbours"),
    ("styles.py:Seq2Seq", "4 heads, scale 1/sqrt(D)"),
    ("styles.py:TimeFirst", "4 heads, scale 1/sqrt(D), causal by itself"),
    ("styles.py:make_model", "4 heads, scale 1/sqrt(D), causal by itself"),
    ("lecture.py:Head", "1 head, scale 1/sqrt(D), causal by itself"),
    ("lecture.py:MultiHeadAttention", "6 heads, scale 1/sqrt(D), causal by itself"),
    ("lecture.py:GPTLanguageModel", "6 heads, scale 1/sqrt(D), causal by itself"),
]
LIBRARIES = [
    ("torch.nn:MultiheadAttention", "4 heads, scale 1/sqrt(D)"),
    ("torch.nn:TransformerEncoderLayer", "4 heads, scale 1/sqrt(D)"),
    ("torch.nn:TransformerDecoderLayer", "4 heads, scale 1/sqrt(D)"),
    ("torch.nn:LayerNorm", "layer norm with eps 1e-05"),
    ("transformer_from_scratch.attention:MultiHeadAttention", "4 heads, scale 1/sqrt(D)"),
    ("transformer_from_scratch.attention:scaled_dot_product_attention", "4 heads, scale 1/sqrt(D)"),
    ("transformer_from_scratch.transformer_block:TransformerBlock", "4 heads, scale 1/sqrt(D)"),
    ("transformer_from_scratch.models:DecoderLM", "causal by itself, rotary on neighbours"),
    ("transformer_from_scratch.models:Encoder", "4 heads, scale 1/sqrt(D), rotary on neighbours"),
    ("transformer_from_scratch.models:MaskedLM", "4 heads, scale 1/sqrt(D), rotary on neighbours"),
    ("transformer_from_scratch.models:EncoderDecoder", "4 heads, scale 1/sqrt(D), rotary on neighbours"),
    ("transformer_from_scratch.models:Classifier", "4 heads, scale 1/sqrt(D), rotary on neighbours"),
    ("transformer_from_scratch.normalization:LayerNorm", "layer norm with eps 1e-05"),
    ("transformer_from_scratch.normalization:RMSNorm", "RMS norm with eps 1e-06"),
    ("transformers:GPT2LMHeadModel", "4 heads, scale 1/sqrt(D), causal by itself"),
    ("transformers:LlamaForCausalLM", "4 heads, scale 1/sqrt(D), causal by itself, rotary on halves"),
    ("transformers:BertForMaskedLM", "4 heads, scale 1/sqrt(D)"),
]


def check_of(examination: Examination, name: str) -> Check:
    return next(check for check in examination.checks if check.name.startswith(name))


def assert_healthy(target: str, parity: str) -> None:
    examination = examine(DoctorConfig(target=target))
    failures = [(check.name, check.measured) for check in examination.checks if check.status is Status.FAIL]
    assert failures == []
    assert check_of(examination, "parity").status is Status.PASS
    assert parity in check_of(examination, "parity").measured


@pytest.mark.parametrize(("target", "parity"), STYLES)
def test_right_code_in_another_style_is_healthy(target: str, parity: str) -> None:
    assert_healthy(str(PATIENTS / target), parity)


@pytest.mark.parametrize(("target", "parity"), LIBRARIES)
def test_a_library_is_healthy(target: str, parity: str) -> None:
    assert_healthy(target, parity)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (
            "torch.nn:MultiheadAttention",
            ["attn_mask: (Tq, Tk), True = masked out", "key_padding_mask: (B, Tk), True = masked out"],
        ),
        ("transformer_from_scratch.attention:MultiHeadAttention", ["mask: (B, 1, Tq, Tk), True = may attend"]),
        ("styles.py:MultiHeadedAttention", ["mask: (B, Tq, Tk), True = may attend"]),
        ("styles.py:SubtractingMask", ["attention_mask: (B, Tk), 1 = may attend"]),
        ("styles.py:DotProductAttention", ["valid_lens: lengths (B,)"]),
        ("attention.py:single_head", ["attn_mask: (B, 1, Tq, Tk), added to the scores"]),
    ],
)
def test_the_convention_of_masks_is_found_by_trying(target: str, expected: list[str]) -> None:
    address = str(PATIENTS / target) if ".py" in target else target
    facts = examine(DoctorConfig(target=address)).facts
    assert [fact.removeprefix("takes ") for fact in facts if fact.startswith("takes ")] == expected


@pytest.mark.parametrize(
    "target",
    [
        "styles.py:CachedAttention",
        "models.py:TinyGPT",
        "attention.py:CachedPatient",
        "transformer_from_scratch.models:DecoderLM",
        "transformer_from_scratch.attention:MultiHeadAttention",
        "transformers:GPT2LMHeadModel",
    ],
)
def test_caches_of_all_kinds_are_driven(target: str) -> None:
    address = str(PATIENTS / target) if ".py" in target else target
    cache = check_of(examine(DoctorConfig(target=address)), "cache equality")
    assert cache.status is Status.PASS
    assert "2 tokens at once after 5" in cache.measured


@pytest.mark.parametrize("name", ["WindowAttention", "SoftcapAttention", "LinearAttention"])
def test_attention_of_an_unknown_kind_is_not_blamed(name: str) -> None:
    examination = examine(DoctorConfig(target=f"{PATIENTS}/styles.py:{name}"))
    assert examination.healthy
    assert check_of(examination, "parity").status is Status.NOTE
    assert check_of(examination, "parity").measured.startswith("equals no known recipe, right or wrong")


def test_a_cache_inside_the_module_is_driven_by_the_position() -> None:
    cache = check_of(examine(DoctorConfig(target=f"{PATIENTS}/styles.py:StartPositionAttention")), "cache equality")
    assert cache.status is Status.PASS
    assert cache.measured.startswith("one token after 4: off by ")


def test_a_query_without_keys_is_noted_not_blamed() -> None:
    check = check_of(examine(DoctorConfig(target="torch.nn:MultiheadAttention")), "query without keys")
    assert check.status is Status.NOTE
    assert "gets NaN" in check.measured
