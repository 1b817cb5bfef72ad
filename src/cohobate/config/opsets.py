"""Versions of the operators of an ONNX file that can be written and run here. No torch here."""

from __future__ import annotations

from functools import cache

OLDEST_OPSET, OPSET = 18, 18
"""The oldest opset that torch's exporter writes, and the one that is written by default."""


def check_opset(opset: int) -> None:
    """Raise a ValueError for an opset that cannot be written and run; onnx and onnxruntime must be there."""
    import onnxruntime

    newest = newest_opset()
    if not OLDEST_OPSET <= opset <= newest:
        raise ValueError(
            f"opset {opset} cannot be written and checked: torch's exporter writes {OLDEST_OPSET} and newer, "
            f"onnxruntime {onnxruntime.__version__} runs up to {newest}"
        )


@cache
def newest_opset() -> int:
    """The newest that onnx knows and onnxruntime runs: it is asked to, since it has no list."""
    import onnx

    newest = onnx.defs.onnx_opset_version()
    return next(opset for opset in range(newest, 0, -1) if _runs(opset))


def _runs(opset: int) -> bool:
    import onnxruntime
    from onnx import TensorProto, helper

    one, other = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("a", "b"))
    graph = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "graph", [one], [other])
    model = helper.make_model_gen_version(graph, opset_imports=[helper.make_opsetid("", opset)])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # onnxruntime has a class of error for each thing that may be wrong
        return False
    return True
