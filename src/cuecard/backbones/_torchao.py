"""torchao, imported before transformers does it.

Where torchao is installed, transformers imports it with its first model, and torchao tells of every
kernel for another device that it cannot load.
"""

from __future__ import annotations

import importlib
import logging
from importlib.util import find_spec
from typing import Any


def _quietly(name: str) -> Any:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return importlib.import_module(name)
    finally:
        logging.disable(before)


quantization: Any = None
if find_spec("torchao"):
    quantization = _quietly("torchao.quantization")
    _quietly("transformers.integrations.torchao")
