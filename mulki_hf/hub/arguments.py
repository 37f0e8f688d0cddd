"""How a stream is published."""

from dataclasses import dataclass, field


@dataclass
class HubArguments:
    """How a stream is published, beside Trainer's `push_to_hub` and `hub_*`."""

    _argument_group_name = "Hub (beside the Trainer's push_to_hub, hub_model_id, hub_token, hub_private_repo, ...)"

    hub_collection: str | None = field(
        default=None, metadata={"help": "Title of a collection that gathers the stream's repositories."}
    )
    hub_retries: int = field(
        default=6,
        metadata={
            "help": "How often a push is tried again, after 1, 2, 4, ... seconds, before it is left pending; each try "
            "has huggingface_hub's own five of every upload."
        },
    )
    hub_timeout: float = field(
        default=60.0, metadata={"help": "Seconds without an answer after which a request to the Hub has failed."}
    )
    license: str | None = field(
        default=None,
        metadata={"help": "Licence of the trained models, as on the Hub (apache-2.0). Default: the base model's."},
    )
    language: str = field(default="en", metadata={"help": "Language of the prompts, for the model cards."})

    def __post_init__(self):
        if self.hub_retries < 0:
            raise ValueError(f"hub_retries must be >= 0, got {self.hub_retries}")
        if not self.hub_timeout > 0:
            raise ValueError(f"hub_timeout must be > 0, got {self.hub_timeout}")
