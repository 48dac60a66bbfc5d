"""Methods of `multimodal`."""
