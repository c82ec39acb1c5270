"""TuneDesk's core: from a data set and a base model to a tuned adapter; knows nothing of gradio."""
