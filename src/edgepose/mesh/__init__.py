# SPDX-License-Identifier: Apache-2.0
"""Body meshes of other makers: placed in front of the camera by a metric pose, written, drawn.

Making a mesh of a person does not belong here: any model with root-relative joints and vertices will do.
"""

from __future__ import annotations

from edgepose.mesh.files import write_mesh
from edgepose.mesh.placement import MHR70, PlacedBody, place_body
from edgepose.mesh.rendering import draw_mesh

__all__ = ["MHR70", "PlacedBody", "draw_mesh", "place_body", "write_mesh"]
