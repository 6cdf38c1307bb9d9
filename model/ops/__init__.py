"""CUDA kernels for what plain torch does slowly, compiled when they are first used. Each has a plain twin."""
