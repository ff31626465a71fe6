"""Local language models in process."""
