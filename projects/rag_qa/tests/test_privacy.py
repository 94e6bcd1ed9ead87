"""Nothing is told to anybody: ONNX Runtime keeps no figures of its use."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from pathlib import Path
from onnx import TensorProto, helper, save
from rag_qa.retrieval.onnx_files import open_session

value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", value[:1], value[1:])
save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), sys.argv[1])
open_session(Path(sys.argv[1]), 1)
"""


def test_onnx_runtime_keeps_no_figures_for_its_maker(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    environment |= dict.fromkeys(("HOME", "XDG_CACHE_HOME", "TMPDIR"), str(home))
    subprocess.run([sys.executable, "-P", "-c", PROGRAM, str(tmp_path / "g.onnx")], env=environment, check=True)
    assert list(home.rglob("*Microsoft*")) == []
