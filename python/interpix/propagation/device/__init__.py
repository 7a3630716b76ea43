"""IProp on a GPU: torch is there already when a tensor of a GPU's comes; nothing here is imported before."""
