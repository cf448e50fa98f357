# SPDX-License-Identifier: Apache-2.0
"""Trains compact models of PoseLLM's kind: DINOv2-shaped encoder, MLP connector, Llama-shaped decoder.

The loop and the data belong elsewhere; a finished model goes through `edgepose export` like a published one.
"""

from __future__ import annotations
