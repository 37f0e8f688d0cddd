"""No training: what the pre-trained model knows."""

from .finetune import Finetune


class ZeroShot(Finetune):
    """The stream is evaluated, and that is all."""

    learns = "none"
    summary = "The pre-trained model, without any training."
