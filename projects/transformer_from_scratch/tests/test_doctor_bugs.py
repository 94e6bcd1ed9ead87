"""Every bug that the doctor claims to know is planted, and found by its name and no other."""

from pathlib import Path

import pytest

from transformer_from_scratch.config import DoctorConfig
from transformer_from_scratch.doctor.catalogue import BUGS
from transformer_from_scratch.doctor.checks import Examination
from transformer_from_scratch.doctor.examine import examine

PATIENTS = Path(__file__).parent / "doctor_patients"

# Bug to find, target, constructor arguments.
PLANTED = [
    *(
        (bug, "attention.py:Patient", f"bug={bug}")
        for bug in (
            "missing_scale",
            "scale_without_root",
            "scale_multiplied",
            "scale_by_model_width",
            "softmax_over_queries",
            "softmax_over_heads",
            "softmax_over_batch",
            "inverted_mask",
            "mask_multiplied",
            "mask_after_softmax",
            "mask_wrong_fill",
            "mask_ignored",
            "keys_values_swapped",
            "values_used_as_keys",
            "keys_used_as_values",
            "queries_used_as_keys",
            "key_reshaped",
            "split_by_view",
            "merge_by_view",
            "missing_output_projection",
            "kv_heads_tiled",
            "dropout_in_eval",
            "gradient_cut",
        )
    ),
    ("mask_wrong_fill", "attention.py:Patient", "bug=fill_typo"),
    ("mask_wrong_fill", "attention.py:Patient", "bug=fill_ten"),
    ("mask_wrong_fill", "attention.py:Patient", "bug=fill_positive"),
    ("mask_multiplied", "attention.py:Patient", "bug=fill_zero"),
    ("dropout_in_eval", "attention.py:HardDropout", ""),
    ("causal_off_by_one", "attention.py:CausalPatient", "bug=causal_off_by_one"),
    ("causal_off_by_one", "attention.py:CausalPatient", "bug=causal_strict"),
    ("inverted_mask", "attention.py:CausalPatient", "bug=causal_inverted"),
    ("no_causal_mask", "attention.py:CausalPatient", "bug=no_causal_mask"),
    ("missing_scale", "attention.py:CausalPatient", "bug=missing_scale"),
    ("softmax_over_heads", "attention.py:CausalPatient", "bug=softmax_over_heads"),
    ("softmax_over_queries", "attention.py:CausalPatient", "bug=softmax_over_queries"),
    ("mask_multiplied", "attention.py:CausalPatient", "bug=mask_multiplied"),
    ("mask_wrong_fill", "attention.py:CausalPatient", "bug=mask_wrong_fill"),
    ("mask_after_softmax", "attention.py:CausalPatient", "bug=mask_after_softmax"),
    ("split_by_view", "attention.py:CausalPatient", "bug=split_by_view"),
    ("rotary_on_values", "attention.py:RotaryPatient", "bug=rotary_on_values"),
    ("rotary_on_one", "attention.py:RotaryPatient", "bug=rotary_on_one"),
    ("missing_scale", "attention.py:FusedPatient", "bugs=missing_scale"),
    ("cache_unused", "attention.py:CachedPatient", "bug=cache_unused"),
    ("cache_mismatch", "attention.py:CachedPatient", "bug=cache_mismatch"),
    ("cache_top_left_mask", "attention.py:CachedPatient", "bug=cache_top_left_mask"),
    ("cache_top_left_mask", "attention.py:CachedPatient", "bug=top_left_chunk"),
    ("cache_position_offset", "attention.py:CachedPatient", "bug=cache_position_offset rotary=True"),
    # Plain functions of query, key and value.
    ("missing_scale", "attention.py:no_scale", ""),
    ("inverted_mask", "attention.py:inverted", ""),
    ("keys_values_swapped", "attention.py:swapped", ""),
    ("key_reshaped", "attention.py:reshaped", ""),
    ("mask_after_softmax", "attention.py:after", ""),
    ("softmax_over_queries", "attention.py:lonely", ""),
    ("cache_top_left_mask", "attention.py:top_left", ""),
    ("no_causal_mask", "attention.py:causal_attention", ""),
    # One head of a model, whose sizes are globals of its file.
    ("scale_by_model_width", "lecture.py:BrokenHead", ""),
    # Whole models.
    ("missing_scale", "models.py:TinyGPT", "bug=missing_scale"),
    ("causal_off_by_one", "models.py:TinyGPT", "bug=causal_off_by_one"),
    ("no_causal_mask", "models.py:TinyGPT", "bug=no_causal_mask"),
    ("softmax_over_batch", "models.py:TinyGPT", "bug=softmax_over_batch"),
    ("cache_top_left_mask", "models.py:TinyGPT", "bug=cache_top_left_mask"),
    ("cache_position_offset", "models.py:TinyGPT", "bug=cache_position_offset"),
    ("positions_missing", "models.py:TinyGPT", "bug=positions_missing"),
    ("dropout_in_eval", "models.py:TinyGPT", "bug=dropout_in_eval"),
    ("norm_unbiased", "models.py:TinyGPT", "bug=norm_unbiased"),
    ("double_shifted_labels", "models.py:TinyGPT", "bug=double_shifted_labels"),
    ("loss_counts_padding", "models.py:TinyGPT", "bug=loss_counts_padding pad_id=0"),
    ("unshifted_labels", "models.py:LabelGPT", "bug=unshifted_labels"),
    ("double_shifted_labels", "models.py:LabelGPT", "bug=shifted_twice"),
    ("positions_missing", "models.py:TinyEncoder", "bug=positions_missing"),
    ("inverted_mask", "models.py:TinyEncoder", "bug=inverted_mask"),
    ("mask_ignored", "models.py:TinyEncoder", "bug=mask_ignored"),
    # Losses.
    ("loss_counts_padding", "models.py:loss_with_padding", ""),
    ("loss_counts_padding", "models.py:loss_divided_by_all", ""),
    ("unshifted_labels", "models.py:unshifted_loss", ""),
    ("double_shifted_labels", "models.py:shifted_again", ""),
    # Norms.
    ("norm_eps_outside", "norms.py:MyLayerNorm", "bug=norm_eps_outside"),
    ("norm_unbiased", "norms.py:MyLayerNorm", "bug=norm_unbiased"),
    ("norm_not_centred", "norms.py:MyLayerNorm", "bug=norm_not_centred"),
    ("norm_wrong_axis", "norms.py:MyLayerNorm", "bug=norm_wrong_axis"),
    ("norm_wrong_axis", "norms.py:MyLayerNorm", "bug=batch"),
    ("norm_eps_outside", "norms.py:MyRMSNorm", "bug=norm_eps_outside"),
]


def examined(target: str, *arguments: str, **options: object) -> Examination:
    return examine(DoctorConfig(target=f"{PATIENTS / target}", arguments=arguments, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(("bug", "target", "arguments"), PLANTED)
def test_planted_bug_is_found_by_name(bug: str, target: str, arguments: str) -> None:
    examination = examined(target, *arguments.split())
    assert examination.bugs == [bug]
    assert not examination.healthy


def test_every_known_bug_is_planted() -> None:
    assert {bug for bug, _, _ in PLANTED} == set(BUGS)


@pytest.mark.parametrize(
    "target",
    [
        "attention.py:Patient",
        "attention.py:CausalPatient",
        "attention.py:RotaryPatient",
        "attention.py:CachedPatient",
        "attention.py:FusedPatient",
        "attention.py:attention",
        "attention.py:single_head",
        "attention.py:tokens_first",
        "attention.py:bottom_right",
        "models.py:TinyGPT",
        "models.py:LabelGPT",
        "models.py:TinyEncoder",
        "models.py:right_loss",
        "norms.py:MyLayerNorm",
        "norms.py:MyRMSNorm",
    ],
)
def test_the_same_code_without_its_bug_is_healthy(target: str) -> None:
    examination = examined(target)
    assert examination.healthy, [check for check in examination.checks if check.bugs]


@pytest.mark.parametrize("bugs", ["missing_scale merge_by_view", "scale_by_model_width softmax_over_heads"])
def test_two_bugs_at_once(bugs: str) -> None:
    assert examined("attention.py:FusedPatient", f"bugs={bugs}").bugs == bugs.split()


def test_two_faults_of_the_annotated_transformers_norm() -> None:
    assert examined("norms.py:AnnotatedLayerNorm").bugs == ["norm_unbiased", "norm_eps_outside"]


def test_inverted_mask_is_a_convention_when_the_learner_says_so() -> None:
    assert examined("attention.py:inverted", mask="ignore").healthy
    assert examined("attention.py:attention", mask="ignore").bugs == ["inverted_mask"]


def test_an_encoder_told_to_be_causal_lacks_its_mask() -> None:
    assert examined("models.py:TinyEncoder", causal=True).bugs == ["no_causal_mask"]


def test_a_decoder_told_to_be_an_encoder_may_see_everything() -> None:
    assert examined("models.py:TinyGPT", "bug=no_causal_mask", causal=False).healthy


def test_who_shifts_the_labels_can_be_said() -> None:
    assert examined("models.py:unshifted_loss", shifted=True).healthy
    assert examined("models.py:shifted_again", shifted=False).healthy


def test_same_seed_same_numbers() -> None:
    first, second = (examined("attention.py:Patient", "bug=mask_multiplied", seed=3) for _ in range(2))
    assert first.checks == second.checks
