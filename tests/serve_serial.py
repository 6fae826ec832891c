"""`cuecard serve` with the plainest engine."""

from __future__ import annotations

import sys
import types

from serial_engine import SerialEngine

local = types.ModuleType("cuecard.serving.local")
local.LocalEngine = SerialEngine  # type: ignore[attr-defined]
sys.modules["cuecard.serving.local"] = local

from cuecard.cli.main import main  # noqa: E402

main()
