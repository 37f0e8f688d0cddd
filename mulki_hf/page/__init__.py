"""A page where a person asks the models of a stream; the only rooms that know Gradio, the extra `demo`."""
