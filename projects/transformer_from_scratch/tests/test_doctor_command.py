"""The doctor as a command: what it prints, how it exits, what it says when it cannot work."""

import sys
from pathlib import Path

import pytest

from roadmap_shared.errors import UserError
from transformer_from_scratch.config import DoctorConfig
from transformer_from_scratch.doctor import run
from transformer_from_scratch.doctor.examine import examine

PATIENTS = Path(__file__).parent / "doctor_patients"


@pytest.fixture
def learners_file(tmp_path: Path):
    """Write a learner's file and give its path."""

    def write(text: str, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.write_text(f"import torch\nfrom torch import nn\n\n{text}\n", encoding="utf-8")
        return path

    before, modules = list(sys.path), set(sys.modules)
    yield write
    sys.path[:] = before
    for name in set(sys.modules) - modules:
        if name.startswith("mine"):
            del sys.modules[name]


def said(target: object, *arguments: str, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        examine(DoctorConfig(target=str(target), arguments=arguments, **options))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_healthy_target_ends_normally(capsys: pytest.CaptureFixture[str]) -> None:
    run(DoctorConfig(target=f"{PATIENTS}/attention.py:Patient"))
    printed = capsys.readouterr().out
    assert "Patient(d_model=32, n_heads=4, n_kv_heads=2, dropout=0.0)" in printed
    assert printed.rstrip().endswith("Healthy: no check failed.")


def test_a_bug_is_explained_and_exits_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        run(DoctorConfig(target=f"{PATIENTS}/attention.py:Patient", arguments=("bug=missing_scale",)))
    assert exit_.value.code == 1
    printed = capsys.readouterr().out
    assert "1. missing scale 1/sqrt(head width)" in printed
    assert "scale = 1 (right: 1/sqrt(D))" in printed
    assert "Look for  scores = q @ k.transpose(-2, -1)" in printed
    assert "Fix       scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])" in printed
    assert max(map(len, printed.splitlines())) <= 120


def test_a_failure_that_no_bug_explains_is_admitted(learners_file, capsys: pytest.CaptureFixture[str]) -> None:
    path = learners_file(
        "class OddAttention(nn.Module):\n"
        "    def __init__(self, d_model):\n"
        "        super().__init__()\n"
        "        self.mix = nn.Linear(d_model, d_model)\n"
        "    def forward(self, x):\n"
        "        return self.mix(x) + x.roll(1, 1) + x.roll(-2, 1)\n"
    )
    with pytest.raises(SystemExit):
        run(DoctorConfig(target=f"{path}:OddAttention"))
    assert "no bug that the doctor knows explains it" in capsys.readouterr().out


def test_module_in_the_current_folder(learners_file, monkeypatch: pytest.MonkeyPatch) -> None:
    path = learners_file("def attention(q, k, v):\n    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v")
    monkeypatch.chdir(path.parent)
    assert examine(DoctorConfig(target="mine:attention")).healthy


def test_arguments_reach_the_constructor() -> None:
    examination = examine(
        DoctorConfig(target=f"{PATIENTS}/attention.py:Patient", arguments=("d_model=48", "n_heads=6", "n_kv_heads=3"))
    )
    assert examination.healthy
    assert "Patient(d_model=48, n_heads=6, n_kv_heads=3, dropout=0.0)" in examination.facts[0]


def test_address_without_a_name() -> None:
    assert said("my_module") == (
        "my_module: name the class too, as in my_module:MyAttention or path/to/file.py:MyAttention"
    )


def test_file_that_does_not_exist() -> None:
    assert said("nowhere.py:A") == "nowhere.py: no such file"


def test_module_that_does_not_exist() -> None:
    assert said("nowhere_at_all:A").startswith("no module 'nowhere_at_all' in ")


def test_misspelt_name() -> None:
    target = f"{PATIENTS}/attention.py:Patiant"
    assert said(target) == f"{PATIENTS}/attention.py has no 'Patiant'. Did you mean 'Patient'?"


def test_name_of_something_that_is_no_class(learners_file) -> None:
    path = learners_file("width = 3")
    assert said(f"{path}:width") == f"{path}:width is a int: name a class or a function"


def test_error_while_importing_names_file_and_line(learners_file) -> None:
    path = learners_file("x = undefined_name")
    assert said(f"{path}:A") == (f"importing {path} failed: mine.py:4: NameError: name 'undefined_name' is not defined")


def test_syntax_error_names_file_and_line(learners_file) -> None:
    path = learners_file("def broken(:\n    pass")
    assert said(f"{path}:A").startswith(f"importing {path} failed: mine.py:4: SyntaxError: ")


def test_missing_import_of_the_learners_file(learners_file) -> None:
    path = learners_file("import surely_not_installed")
    assert said(f"{path}:A") == (
        f"importing {path} failed: mine.py:4: ModuleNotFoundError: No module named 'surely_not_installed'"
    )


def test_file_that_exits_when_imported(learners_file) -> None:
    path = learners_file("raise SystemExit(3)")
    assert said(f"{path}:A") == f"importing {path} failed: mine.py:4: SystemExit: 3"


MINE = (
    "class MyAttention(nn.Module):\n"
    "    def __init__(self, d_model, flavour):\n"
    "        super().__init__()\n"
    "        if flavour != 'sweet':\n"
    "            raise ValueError('not sweet')\n"
    "        self.qkv = nn.Linear(d_model, 3 * d_model)\n"
    "    def forward(self, x):\n"
    "        return self.qkv(x) @ torch.ones(7)\n"
)


def test_argument_that_only_the_learner_knows(learners_file) -> None:
    assert said(f"{learners_file(MINE)}:MyAttention") == (
        "MyAttention needs 'flavour', which the doctor does not know: give it as --arguments flavour=VALUE"
    )


def test_constructor_that_fails(learners_file) -> None:
    assert said(f"{learners_file(MINE)}:MyAttention", "flavour=sour") == (
        "MyAttention(flavour='sour', d_model=32) failed: mine.py:8: ValueError: not sweet. "
        "Give its arguments yourself: --arguments name=value …"
    )


def test_call_that_fails(learners_file) -> None:
    message = said(f"{learners_file(MINE)}:MyAttention", "flavour=sweet")
    assert message.startswith(
        "calling MyAttention(x) with input of shape (3, 7, 32) failed: mine.py:11: RuntimeError: "
    )
    assert message.endswith("or wrap it in a function of (query, key, value, mask)")


def test_unknown_argument() -> None:
    assert said(f"{PATIENTS}/attention.py:Patient", "n_head=4") == (
        "--arguments: Patient has no argument 'n_head'. Did you mean 'n_heads'?"
    )


def test_argument_without_a_value() -> None:
    assert said(f"{PATIENTS}/attention.py:Patient", "n_heads") == (
        "--arguments n_heads: give constructor arguments as name=value, as in d_model=64"
    )


def test_config_attribute_that_only_the_learner_knows(learners_file) -> None:
    path = learners_file(
        "class MyAttention(nn.Module):\n    def __init__(self, config):\n        self.x = config.flavour\n"
    )
    assert said(f"{path}:MyAttention").startswith(
        "MyAttention(config=config) failed: mine.py:6: AttributeError: "
        "the config has no 'flavour': give it as --arguments flavour=VALUE"
    )


def test_class_that_is_no_part_of_a_transformer() -> None:
    assert said("torch.nn:Linear") == (
        "Linear looks like no attention (no query, key and value), no model (no nn.Embedding), and no norm: "
        "say what it is with --kind"
    )


def test_function_that_is_none_of_the_known_kinds() -> None:
    assert said(f"{PATIENTS}/attention.py:turn") == (
        "turn(x, start): the doctor examines torch modules, functions of (query, key, value, mask), losses of "
        "(logits, targets), and functions that make a module. Wrap it in one of these"
    )


def test_function_without_a_signature() -> None:
    assert said("torch.nn.functional:scaled_dot_product_attention") == (
        "scaled_dot_product_attention does not say what arguments it takes: "
        "wrap it in a function of (query, key, value, mask)"
    )


def test_model_with_an_unknown_input(learners_file) -> None:
    path = learners_file(
        "class MyModel(nn.Module):\n"
        "    def __init__(self, vocab_size):\n"
        "        super().__init__()\n"
        "        self.embed = nn.Embedding(vocab_size, 8)\n"
        "    def forward(self, tokens, weather):\n"
        "        return self.embed(tokens)\n"
    )
    assert said(f"{path}:MyModel") == (
        "MyModel.forward needs 'weather', which the doctor does not know: give it a default value"
    )


def test_examination_leaves_the_process_as_it_was() -> None:
    import torch

    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    examine(DoctorConfig(target=f"{PATIENTS}/attention.py:Patient"))
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert torch.equal(torch.rand(3), expected)
