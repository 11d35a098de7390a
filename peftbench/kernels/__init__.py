"""Kernels of the native runtime: equivalents of torch operations that save less memory. Independent of PEFT methods."""
