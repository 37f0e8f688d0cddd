"""What a launcher decides through the environment: refused where it can't be done, or where nothing would record it."""

import os
from typing import Any

from transformers.utils import strtobool


FSDP = (
    "accelerate can't shard a CLIPModel, of which it asks get_input_embeddings, that two towers have not, and leaves "
    "modules out alone, not the 0-D logit scale, which torch refuses; use DDP (distributed_type MULTI_GPU)"
)
DEEPSPEED = (
    "its checkpoints are its own, pickled and without the optimizer state that --resume looks for; use DDP "
    "(distributed_type MULTI_GPU)"
)
WHOLE = "the model runs whole on every device; use DDP (distributed_type MULTI_GPU)"

STRATEGIES = {
    "ACCELERATE_USE_FSDP": ("FSDP", FSDP),
    "ACCELERATE_USE_DEEPSPEED": ("DeepSpeed", DEEPSPEED),
    "ACCELERATE_USE_MEGATRON_LM": ("Megatron-LM", WHOLE),
    "ACCELERATE_USE_PARALLELISM_CONFIG": ("a parallelism_config", WHOLE),
}
"""By the switch that accelerate sets for its ranks: what is asked for, and why it is refused."""


def check_launched(args: Any) -> None:
    """Raise `ValueError` for what `accelerate launch`, its file or the environment ask for beside the options.

    Whatever decides the result stands among the options, where results, recipes and `--resume` find it.
    """
    for switch, (strategy, reason) in STRATEGIES.items():
        if strtobool(os.environ.get(switch, "false")):
            raise ValueError(f"{switch}: the launcher asks for {strategy}: {reason}")
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision != "no" and not (args.bf16 or args.fp16):
        asked = precision if precision in ("bf16", "fp16") else "bf16"
        raise ValueError(
            f"mixed_precision: the launcher says {precision!r}, and the options, which are recorded, nothing: give "
            f"--{asked} true, or say --mixed_precision no to the launcher"
        )
    backend = os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower()
    if backend != "no" and not (args.torch_compile or args.torch_compile_backend or args.torch_compile_mode):
        raise ValueError(
            f"dynamo_backend: the launcher says {backend!r}, and the options, which are recorded, nothing: give "
            f"--torch_compile_backend {backend}, or say --dynamo_backend no to the launcher"
        )
    steps = os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    if steps not in ("1", str(args.gradient_accumulation_steps)):
        raise ValueError(
            f"gradient_accumulation_steps: the environment says {steps} (ACCELERATE_GRADIENT_ACCUMULATION_STEPS), and "
            f"the options, which count, {args.gradient_accumulation_steps}: say it there alone"
        )
