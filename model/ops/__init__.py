"""Operations that plain PyTorch does slowly. Each module holds both versions, PyTorch's and a CUDA kernel's, and one function
that takes the kernel where it can; kernels are compiled when they are first used."""

from ag3d.model.ops.dispatch import cuda_kernels as cuda_kernels
