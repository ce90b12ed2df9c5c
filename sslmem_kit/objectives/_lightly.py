"""The parts of lightly that the objectives use, in one place: its modules move between releases."""

from lightly.loss import NTXentLoss
from lightly.models.modules.heads import SimCLRProjectionHead
from lightly.models.modules.masked_vision_transformer_decoder_timm import MaskedVisionTransformerDecoderTIMM
from lightly.models.modules.masked_vision_transformer_timm import MaskedVisionTransformerTIMM
from lightly.models.utils import get_at_index, patchify, set_at_index
from lightly.utils.lars import LARS
from lightly.utils.scheduler import cosine_warmup_schedule

__all__ = [
    "LARS",
    "MaskedVisionTransformerDecoderTIMM",
    "MaskedVisionTransformerTIMM",
    "NTXentLoss",
    "SimCLRProjectionHead",
    "cosine_warmup_schedule",
    "get_at_index",
    "patchify",
    "set_at_index",
]
