"""A frozen teacher's outputs, computed once: what is kept of them (`spec`), how it is made (`compute`), where it lies (`store`)."""

__all__: list[str] = []
