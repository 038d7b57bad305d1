"""Registration of the environment, so that `gymnasium.make` finds it."""

ID = "l4sllm/DualPI2-v0"


def register() -> None:
    """Register `l4sllm/DualPI2-v0` with Gymnasium; `import l4sllm` does it as well.

    Raises `ImportError` without gymnasium.
    """
    import gymnasium

    if ID not in gymnasium.registry:
        gymnasium.register(
            ID,
            entry_point="l4sllm.env:DualPI2Env",
            vector_entry_point="l4sllm.env:DualPI2VectorEnv",
        )
