"""`python -m serving.list_stock_ops`: writes the list of ops that a servable may have, `serving/stock_ops.py`, anew.

The list is read off the op and kernel registries of TensorFlow's C++ library before anything of Python is in them.
That library is what TensorFlow Serving links (`//tensorflow/core:tensorflow`, all ops and kernels). Python's bindings
then register further ones into the same registries: the kernels of PyFunc, PyFuncStateless and EagerPyFunc, which need
an interpreter (their ops are known to the server, which cannot run them), AudioMicrofrontend, and a hundred ops of
TensorFlow's own tests. None of these is in a server.

The server also has the ops of TensorFlow Text and Decision Forests, which a SparCode servable has no need of.
"""

from __future__ import annotations

import ctypes
import importlib.util
import pathlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from protos.artifact import writing
from protos.command_line import CommandParser
from protos.errors import UserError, run_cli

TARGET = pathlib.Path(__file__).with_name("stock_ops.py")
_LIBRARY = "libtensorflow_cc.so.2"
# Kernels of the first run on CPUs only, those of the second on any device.
_DEVICES = ("CPU", "DEFAULT")
# Ops that only rewriters of graphs make, and those of a compiler that a server may be built without.
_NOT_FOR_SERVABLES = ("_", "Xla")

_MODULE = '''\
"""The ops that a servable may have. Written by `python -m serving.list_stock_ops`, which says what they are."""

TENSORFLOW = "{version}"
STOCK_OPS = frozenset(
    {{
{names}
    }}
)
'''


class _Buffer(ctypes.Structure):
    """TF_Buffer of TensorFlow's C API."""

    _fields_ = (("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("deallocator", ctypes.c_void_p))


class _Registries(NamedTuple):
    """TensorFlow's version, and its registries as serialised OpList and KernelList."""

    version: str
    ops: bytes
    kernels: bytes


def module_text() -> str:
    """The text of `serving/stock_ops.py` for the TensorFlow that is installed.

    Raises:
      UserError: this process has imported TensorFlow, or it is not installed.
    """
    found = _read_registries()
    # Only now, for it adds to the registries.
    from tensorflow.core.framework import kernel_def_pb2, op_def_pb2

    registered = {op.name for op in op_def_pb2.OpList.FromString(found.ops).op}
    kernels = kernel_def_pb2.KernelList.FromString(found.kernels).kernel
    runnable = {kernel.op for kernel in kernels if kernel.device_type in _DEVICES}
    names = sorted(name for name in registered & runnable if not name.startswith(_NOT_FOR_SERVABLES))
    return _MODULE.format(version=found.version, names="\n".join(f'        "{name}",' for name in names))


def _read_registries() -> _Registries:
    library = ctypes.CDLL(str(_find_library()))
    library.TF_Version.restype = ctypes.c_char_p
    library.TF_NewStatus.restype = ctypes.c_void_p
    for function, arguments in ((library.TF_GetAllOpList, []), (library.TF_GetAllRegisteredKernels, [ctypes.c_void_p])):
        function.restype, function.argtypes = ctypes.POINTER(_Buffer), arguments
    ops, kernels = library.TF_GetAllOpList(), library.TF_GetAllRegisteredKernels(library.TF_NewStatus())
    return _Registries(library.TF_Version().decode(), _content(ops.contents), _content(kernels.contents))


def _find_library() -> pathlib.Path:
    if "tensorflow" in sys.modules:
        raise UserError(
            "this process has imported tensorflow, whose bindings add ops; list the ops in a process of its own"
        )
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("tensorflow is not installed here; run this with the project's .venv")
    return pathlib.Path(spec.submodule_search_locations[0]) / _LIBRARY


def _content(buffer: _Buffer) -> bytes:
    return ctypes.string_at(buffer.data, buffer.length)


def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    CommandParser(
        prog="python -m serving.list_stock_ops",
        description="Writes serving/stock_ops.py anew: the ops of the stock server, read off this TensorFlow.",
        epilog="example, after an upgrade of TensorFlow: python -m serving.list_stock_ops",
    ).parse_args(argv)
    with writing(TARGET):
        TARGET.write_text(module_text())
    print(f"{TARGET} written")


if __name__ == "__main__":
    run_cli(main)
