# SPDX-License-Identifier: Apache-2.0
"""ONNX graphs of the model parts: one emitter per architecture, over one builder.

Which graphs a bundle has is decided in `edgepose.export.pipeline`.
"""
