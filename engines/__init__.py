# SPDX-License-Identifier: Apache-2.0
"""Turns bundles into TensorRT engines: recipes, profiles, compilation, checks.

Running engines does not belong here, nor does the format of their directory: see `edgepose.engine`.
"""

from __future__ import annotations

from edgepose.engines.build import build_engines, default_out
from edgepose.engines.inspection import Inspection, inspect_engines
from edgepose.engines.recipe import Recipe, load_recipe, recipe_names
from edgepose.engines.report import BuildReport, ComponentReport
from edgepose.engines.texts import build_text, inspection_text

__all__ = [
    "BuildReport",
    "ComponentReport",
    "Inspection",
    "Recipe",
    "build_engines",
    "build_text",
    "default_out",
    "inspect_engines",
    "inspection_text",
    "load_recipe",
    "recipe_names",
]
