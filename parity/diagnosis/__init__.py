"""Why a candidate is another model: the cause by its name, the guilty hop, the first operation that differs."""
