# SPDX-License-Identifier: Apache-2.0
"""The whole model of LocLLM and PoseLLM: vision encoder, connector, decoder and head, as one PyTorch module.

Which family a checkpoint belongs to makes no difference here; prompts and answers do not belong here.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgepose.export.models.config import ModelConfig
from edgepose.export.models.connector import Connector, ConnectorConfig
from edgepose.export.models.dinov2 import VisionConfig, VisionEncoder
from edgepose.export.models.llama import Decoder

__all__ = ["PoseConfig", "PoseModel"]

PoseConfig = ModelConfig[VisionConfig, ConnectorConfig]


class PoseModel(nn.Module):
    """Crop and prompt to hidden states and logits; its state-dict names are the canonical names."""

    def __init__(self, config: PoseConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = VisionEncoder(config.vision)
        self.connector = Connector(config.connector)
        self.decoder = Decoder(config.decoder)
        self.lm_head = nn.Linear(config.decoder.hidden, config.decoder.vocabulary, bias=False)
        if config.tied_head:
            self.lm_head.weight = self.decoder.embed_tokens.weight

    @classmethod
    def from_weights(
        cls, config: PoseConfig, weights: Mapping[str, Tensor], *, dtype: torch.dtype = torch.float32
    ) -> PoseModel:
        """Builds the model and fills it tensor by tensor.

        Args:
            config: Sizes of all parts.
            weights: Canonical name to tensor; `edgepose.export.weights.ModelWeights`, or a state dict.
            dtype: Type of all parameters.

        Returns:
            The model in evaluation mode, without gradients.
        """
        with torch.device("meta"):
            model = cls(config)
        model.requires_grad_(False)
        state = {name: weights[name].to(dtype) for name in model.state_dict()}
        model.load_state_dict(state, assign=True)
        if config.tied_head:
            model.lm_head.weight = model.decoder.embed_tokens.weight
        return model.eval().requires_grad_(False)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Crops (B, 3, size, size) to image embeddings (B, patches, hidden)."""
        embeddings: Tensor = self.connector(self.vision(pixels))
        return embeddings

    def embed(self, ids: Tensor, image: Tensor | None = None) -> Tensor:
        """Embeds prompts, image embeddings in place of the image tokens.

        Args:
            ids: (N, T) int64 token ids.
            image: (N, patches, hidden), needed where `ids` hold image tokens, as many per row as there are
                patches.

        Returns:
            (N, T, hidden).
        """
        placeholder = ids == self.config.image_token
        embeddings: Tensor = self.decoder.embed_tokens(ids.masked_fill(placeholder, 0))
        if image is None:
            return embeddings
        return embeddings.masked_scatter(placeholder.unsqueeze(-1), image.to(embeddings.dtype))
