"""Parts of lightly that the objectives use, in one place: its modules move between releases."""

import warnings

from lightly.loss import DINOLoss, NegativeCosineSimilarity, NTXentLoss, VICRegLoss
from lightly.models.modules.heads import (
    DINOProjectionHead,
    SimCLRProjectionHead,
    SimSiamPredictionHead,
    SimSiamProjectionHead,
    VICRegProjectionHead,
)
from lightly.models.modules.masked_vision_transformer_decoder_timm import MaskedVisionTransformerDecoderTIMM
from lightly.models.modules.masked_vision_transformer_timm import MaskedVisionTransformerTIMM
from lightly.models.utils import get_at_index, patchify, set_at_index, update_momentum
from lightly.utils.scheduler import cosine_warmup_schedule

__all__ = [
    "DINOLoss",
    "DINOProjectionHead",
    "MaskedVisionTransformerDecoderTIMM",
    "MaskedVisionTransformerTIMM",
    "NTXentLoss",
    "NegativeCosineSimilarity",
    "SimCLRProjectionHead",
    "SimSiamPredictionHead",
    "SimSiamProjectionHead",
    "VICRegLoss",
    "VICRegProjectionHead",
    "cosine_warmup_schedule",
    "get_at_index",
    "new_dino_head",
    "patchify",
    "set_at_index",
    "update_momentum",
]


def new_dino_head(*dims: int, freeze_last_layer: int) -> DINOProjectionHead:
    """Build a DINO head of (input, hidden, bottleneck, output) dims, without torch's warning about the weight norm that lightly uses."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.nn.utils.weight_norm` is deprecated", FutureWarning)
        return DINOProjectionHead(*dims, freeze_last_layer=freeze_last_layer)
